"Two test files at a time, with a thread each: most of the time goes into imports of fresh processes."
import os

for k, v in dict(OMP_NUM_THREADS='1', GOMP_SPINCOUNT='5000').items(): os.environ.setdefault(k, v)
