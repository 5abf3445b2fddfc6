"`python -m fashion_bench` is `fashion-bench`."
from .cli import main

main()
