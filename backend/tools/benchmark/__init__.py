"""Commands of ``m2n2 benchmark`` that measure the server, its start and its answers, or set figures beside others'."""
