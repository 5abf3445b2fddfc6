"What tutorials use, in one import: `from fashion_bench.all import *`; the rest has its room, such as `fashion_bench.results.confidence`."
from .base.errors import InputError
from .base.gridfile import grid_of, write_grid
from .data.audit import audit, handle_bad
from .data.loaders import fashion_dls
from .data.pictures import plot_class_counts, plot_dataset, plot_examples
from .data.sources import load_table
from .data.splits import random_split, shared_products
from .data.subsets import crop_to_boxes
from .data.table import image_paths, summary
from .models.catalogue import list_models
from .models.learner import fashion_learner
from .models.registry import model_info, model_inputs
from .training.rates import schedule_rates
from .training.recipes import Recipe
from .results.board import summarize
from .results.choosing import Choice, plot_choice
from .results.compare import compare_runs
from .results.confidence import compare_models, seeds_needed
from .results.details import image_results
from .results.photos import plot_images
from .results.plots import look, plot_accuracy, plot_efficiency, plot_pareto, plot_weights
from .results.leaderboard import leaderboard
from .results.records import load_runs
from .results.reference import efficiency, reference_2021
from .results.report import report_html
from .results.schedules import plot_rates, plot_schedules, schedule_verdict
from .results.verdict import verdict
from .follow.progress import BarProgress
from .runs.bench import bench, estimate
from .runs.choose import choose
from .runs.grid import plan_bench
from .runs.learner import load_run_learner
from .runs.predictor import load_predictor
