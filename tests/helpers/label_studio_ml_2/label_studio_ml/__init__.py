"""A stand-in for label-studio-ml 2.0, which no registry has: it is installed from its repository.

Written from that package's guides and from what a server of it was seen to answer. It has what a model class meets:
the base class with its store, the response, and a server that makes a model for every request. Its folder goes first on
the path of the process that is to find it as ``label_studio_ml``.
"""
