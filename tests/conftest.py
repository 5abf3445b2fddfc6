"Two test files at a time, with a thread each: most of the time goes into imports of fresh processes."
import os, tempfile

from fashion_bench._nbdev import own_temp_folder

for k, v in dict(OMP_NUM_THREADS='1', GOMP_SPINCOUNT='5000').items(): os.environ.setdefault(k, v)

if 'PYTEST_XDIST_WORKER' not in os.environ: # else it has the folder of who started it
    os.environ.setdefault('PYTEST_DEBUG_TEMPROOT', tempfile.gettempdir()) # what a failed test leaves is kept
    own_temp_folder()
