# docker build --target cpu -t m2n2 .     docker run -p 9090:9090 m2n2
# docker build --target cuda -t m2n2 .    docker run -p 9090:9090 --gpus all m2n2
# docker build --target ray-cpu -t m2n2-ray .    or ray-cuda: the same with Ray, see docs/operate/ray.md
#
# Every RUN is a script of deploy/image, which docs/operate/containers.md describes with the build arguments.
# The digest is what counts; the tag says what it was. docs/operate/containers.md says how to learn another one.
ARG DEBIAN=debian:12.12-slim@sha256:d5d3f9c23164ea16f31852f95bd5959aad1c5e854332fe00f7b3a20fcc9f635c
FROM ${DEBIAN} AS system
COPY deploy/image/install_packages.sh deploy/image/add_user.sh /usr/local/lib/m2n2/
RUN /usr/local/lib/m2n2/install_packages.sh python3 && /usr/local/lib/m2n2/add_user.sh
# All addresses of the container, which alone decides who reaches it; by itself the server listens on loopback.
# Fetched weights, kernels and the attention cache in two volumes; the home folder is for libraries that keep files there.
# Baked-in weights are in neither: a volume keeps what it has when the image is exchanged.
ENV PATH=/opt/m2n2/bin:$PATH \
    HOME=/cache \
    M2N2_HOST=0.0.0.0 \
    M2N2_BUNDLED_FOLDER=/opt/m2n2/bundled \
    M2N2_CACHE_FOLDER=/weights \
    M2N2_DISK_CACHE_FOLDER=/cache/attention \
    NUMBA_CACHE_DIR=/cache/kernels \
    TRITON_CACHE_DIR=/cache/triton

FROM ${DEBIAN} AS sources
WORKDIR /src
COPY pyproject.toml requirements.txt README.md LICENSE ./
COPY backend backend
COPY m2n2_engine m2n2_engine
COPY deploy/image deploy/image

FROM system AS build
RUN /usr/local/lib/m2n2/install_packages.sh python3-venv
WORKDIR /src
COPY deploy/image/requirements.lock deploy/image/torch-cpu.lock deploy/image/torch-cuda.lock \
     deploy/image/install_dependencies.sh ./

FROM build AS build-cpu
# A torch of your own choice, in the place of the lock's.
ARG TORCH=
ARG TORCH_LOCK=torch-cpu.lock
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN ./install_dependencies.sh
COPY --from=sources /src .
ARG WEIGHTS=dinov2-small
RUN deploy/image/install_product.sh ${WEIGHTS}

FROM build AS build-cuda
ARG TORCH=
ARG TORCH_LOCK=torch-cuda.lock
# What pip's own index has for Linux is the CUDA build, with CUDA's libraries as packages.
ARG TORCH_INDEX_URL=
RUN ./install_dependencies.sh
COPY --from=sources /src .
ARG WEIGHTS=dinov2-small
RUN deploy/image/install_product.sh ${WEIGHTS}

FROM system AS runtime
LABEL org.opencontainers.image.title="M2N2 for annotation platforms" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /opt/m2n2
USER 10001:10001
# 8070 is for CVAT, where M2N2_CVAT_PORT says so.
EXPOSE 9090 8070
HEALTHCHECK --interval=10s --timeout=2s --start-period=60s \
    CMD ["sh", "-c", "exec python health.py ${M2N2_PORT:-9090}"]
# gunicorn is process 1: SIGTERM answers the clicks under way and ends.
CMD ["gunicorn", "--config", "python:backend.http.gunicorn_conf"]

FROM runtime AS cuda
# Triton compiles its launchers, in C, on the GPU that they are for.
USER 0
RUN /usr/local/lib/m2n2/install_packages.sh gcc libpython3-dev
USER 10001:10001
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/m2n2 /opt/m2n2
COPY --from=build-cuda --chown=10001:10001 /cache /cache
VOLUME ["/cache", "/weights"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/m2n2 /opt/m2n2
COPY --from=build-cpu --chown=10001:10001 /cache /cache
VOLUME ["/cache", "/weights"]

# Head, workers and servers of a Ray cluster. Head and workers have no server that could be asked for its health.
# wget: KubeRay's probes call it.
FROM cpu AS ray-cpu
USER 0
COPY deploy/ray/requirements.lock deploy/image/install_ray.sh /usr/local/lib/m2n2/
RUN /usr/local/lib/m2n2/install_packages.sh wget && /usr/local/lib/m2n2/install_ray.sh
USER 10001:10001
HEALTHCHECK NONE

FROM cuda AS ray-cuda
USER 0
COPY deploy/ray/requirements.lock deploy/image/install_ray.sh /usr/local/lib/m2n2/
RUN /usr/local/lib/m2n2/install_packages.sh wget && /usr/local/lib/m2n2/install_ray.sh
USER 10001:10001
HEALTHCHECK NONE

# The last target is what a build without --target makes.
FROM cpu AS default
