"""The steps that pay on a GPU as Triton kernels. Imported only where ``kernels.fused`` says so.

Each does what a plain torch form elsewhere in ``ops`` does, and that form is the oracle of its test. Block sizes
were measured on an H200 beside some six others each, for 128 x 128 cells and a megapixel, and are within a twentieth of
the fastest; those of scaling and of arrivals, a few percent of their steps, are chosen by arithmetic.
"""
