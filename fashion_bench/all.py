"The public API in one import: `from fashion_bench.all import *`."
from .table import *
from .pixels import *
from .deepfashion import *
from .wardrobe import *
from .sources import *
from .audit import *
from .cache import *
from .augment import *
from .loaders import *
from .models import *
from .backbones import *
from .learner import *
from .recipes import *
from .runs import *
from .bench import *
from .results import *
from .plots import *
