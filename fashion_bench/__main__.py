"`python -m fashion_bench` is `fashion-bench`."
from .cli.main import main

if __name__ == '__main__': main()
