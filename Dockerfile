# docker build -t m2n2 .          docker run -p 9090:9090 m2n2
# Your own build of torch, for example one for your CUDA version:
#   docker build --build-arg TORCH="torch==2.13.0 --index-url <the index of that build>" -t m2n2 .
FROM python:3.11-slim

# What OpenCV links to.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
ARG TORCH="torch==2.13.0"
COPY requirements.txt .
RUN pip install --no-cache-dir ${TORCH} && pip install --no-cache-dir --requirement requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY backend backend
COPY m2n2_engine m2n2_engine
COPY deploy deploy
RUN pip install --no-cache-dir --no-deps --editable . \
    && useradd --create-home m2n2 \
    && mkdir -p /cache \
    && chown m2n2 /cache
USER m2n2

# The embedded weights are part of the image; compiled kernels, further weights and the attention cache go to the same
# volume.
ENV M2N2_CACHE_FOLDER=/cache M2N2_DISK_CACHE_FOLDER=/cache/attention NUMBA_CACHE_DIR=/cache/kernels
RUN m2n2 weights get
VOLUME /cache

EXPOSE 9090
# 401, the answer where basic authentication is on, is a sign of life too.
HEALTHCHECK --interval=10s --timeout=2s --start-period=60s \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('M2N2_PORT') or 9090), timeout=1); c.request('GET', '/health'); raise SystemExit(c.getresponse().status not in (200, 401))"]
CMD ["gunicorn", "-c", "deploy/gunicorn.conf.py"]
