"""You have photos of clothes and must choose a model to fine-tune. In 2021 a blog post compared 15 of them on DeepFashion
with fastai's `fine_tune(3, freeze_epochs=1)`. fashion_bench makes that comparison a tool for your own photos: models
from torchvision, timm and fastai, CLIP's image towers among them, trained alike, each with its own normalization and
input size, the same head and the same parameter groups. What fails is a row with its reason, what was really loaded is
recorded, and nothing is lost: what is finished is never trained twice, and what was killed goes on after its last
epoch.

Modules:

- `fashion_bench.base.ahead`: The process that will train is started while the command still reads your photos.
- `fashion_bench.base.answers`: What a run answered, photo by photo, as it is kept.
- `fashion_bench.base.columns`: The columns of a text file, back to what they were before they were written.
- `fashion_bench.base.errors`: What a user can mend, told apart from what only we can.
- `fashion_bench.base.figures`: One look for all pictures, in every script, on light pages and dark ones, on a screen and on a phone.
- `fashion_bench.base.files`: Files that are whole or not there, whatever happens while they are written.
- `fashion_bench.base.gridfile`: A grid of runs as a file that can be kept, sent and run again, and back from records to the file or the command.
- `fashion_bench.base.imports`: What libraries bring along unasked stays out, or waits: trackers, packages for what nobody does here, and warnings that are not for you.
- `fashion_bench.base.labels`: Names beside points, of which none covers another, a point or a line.
- `fashion_bench.base.licences`: What a model's weights may be used for, as far as their licence says.
- `fashion_bench.base.markup`: Pages and tables in which text stays text, whoever wrote it.
- `fashion_bench.base.pixels`: From a file to RGB pixels by one rule, the same in training, in prediction and in the audit.
- `fashion_bench.base.record`: A run's record, as it is written and as it is believed.
- `fashion_bench.base.specs`: What a run is asked to be, as plain data, and when two runs are the same.
- `fashion_bench.base.tally`: What was found, what of it is used, and what was left out, counted and named.
- `fashion_bench.base.texts`: Text that other programs wrote: read as it was meant, or refused with file, line and what to do.
- `fashion_bench.cli.main`: `fashion-bench`: thin commands over the library.
- `fashion_bench.cli.options`: What a command line asks for, made into what the library takes.
- `fashion_bench.cli.records`: The commands that read what was trained: a board, a page, a comparison, a grid file, curves.
- `fashion_bench.cli.screen`: What a person sees before and after a benchmark: the plan with its costs, the board, and where the charts are.
- `fashion_bench.cli.tools`: The commands besides the benchmark: about photos, models, weights, and what is kept on disk.
- `fashion_bench.data.attributes`: DeepFashion's attributes as labels, one or several an image, and its landmarks.
- `fashion_bench.data.audit`: Is this data fit to train on? Every image looked at once, and what is wrong said before a model is built.
- `fashion_bench.data.augment`: fastai's augmentations of a batch, the same pictures in a fraction of the time.
- `fashion_bench.data.cache`: Decode and shrink every image once, not in every epoch of every model.
- `fashion_bench.data.deepfashion`: DeepFashion's benchmarks, from the text files they come in to an image table.
- `fashion_bench.data.fashion_mnist`: Fashion-MNIST, from the four files of raw bytes that it comes in to an image table.
- `fashion_bench.data.folders`: Photos in a folder per class, with or without split folders above.
- `fashion_bench.data.frames`: Photos that a table tells of: a data frame, a CSV or Parquet file, a Hugging Face image folder.
- `fashion_bench.data.loaders`: From an image table to batches, sized and normalized as a model wants them.
- `fashion_bench.data.pictures`: Look at the data before a model does.
- `fashion_bench.data.sources`: Point at photos, however they are kept, and get an image table.
- `fashion_bench.data.splits`: Train, validation and test: the same on every machine, by class and by product.
- `fashion_bench.data.subsets`: Fewer classes, fewer images, other names, crops: by a recipe that can be written down.
- `fashion_bench.data.table`: The image table: a DataFrame with one row per image, the one form in which data travels through fashion_bench.
- `fashion_bench.data.wardrobe`: A small DeepFashion that can be given away: 600 garments drawn by code, in the benchmark's own layout.
- `fashion_bench.follow.followers`: Whoever wants to know of runs while they go on is told from a process of its own, out of their records.
- `fashion_bench.follow.forecast`: How many minutes are left, for a run and for all of them: a range until an epoch of the kind has been seen.
- `fashion_bench.follow.progress`: How a benchmark goes on, for a person: which model, which epoch, how accurate so far, and how long it will take.
- `fashion_bench.follow.tracking`: The curves of runs in Weights & Biases or TensorBoard, while they are trained, or later from their records.
- `fashion_bench.models.backbones`: A pretrained network without its classifier, with the weights that were asked for or a clear no.
- `fashion_bench.models.catalogue`: Which models there are, how large they are, and which of them work, in a second and without a network.
- `fashion_bench.models.groups`: Which part of a network learns at which rate, and why that must not depend on the library.
- `fashion_bench.models.hub`: What lies beside weights on the Hugging Face hub, in its cache, or in a folder of one's own.
- `fashion_bench.models.learner`: One factory for every library: the same head, the same parameter groups, the same freezing.
- `fashion_bench.models.prior`: How good a model may be expected to be before anybody has looked at your photos.
- `fashion_bench.models.ranks`: Several processes that train one model as if they were one: what they tell each other, and batch norm over all of them.
- `fashion_bench.models.registry`: One registry over torchvision, timm, fastai and open_clip: what a model is called, what it wants to be fed, and which weights it has.
- `fashion_bench.models.regularization`: What holds a network back while it is trained, the same for every library.
- `fashion_bench.models.speed`: How many images a second a network can take on this machine, with nothing else in the way.
- `fashion_bench.models.texts`: Classes by their names: prompts for a tower that reads, and what it makes of them.
- `fashion_bench.models.towers`: The image tower of open_clip's pairs, as a backbone like any other.
- `fashion_bench.models.weights`: Where pretrained weights come from, and what a file of them holds.
- `fashion_bench.results.board`: From run folders to the tables that answer the question.
- `fashion_bench.results.calibration`: How sure a model may say that it is, and what is right of the answers that it is so sure of.
- `fashion_bench.results.choosing`: Who is out after a cheap look, and who is still in: rules with error bars, and what they cost.
- `fashion_bench.results.compare`: One's runs beside the 2021 post, and one folder of runs beside another.
- `fashion_bench.results.confidence`: How sure a ranking is: intervals over images and over seeds, models that cannot be told apart, and what it would take to tell them.
- `fashion_bench.results.details`: What the runs were like: every epoch, every class, every image.
- `fashion_bench.results.leaderboard`: The table that answers the question, in a notebook, in a terminal of any width, and in a file.
- `fashion_bench.results.origins`: Where figures come from: the photos, the weights, the machine, what failed, and the command that does it again.
- `fashion_bench.results.page`: A page that needs no network: contents, tables that sort, pictures that take the page's colours, and nothing else.
- `fashion_bench.results.photos`: The photos themselves: those that models take wrongly, and those that a model finds nearest to one.
- `fashion_bench.results.plots`: Every picture: a frame goes in, matplotlib axes come out.
- `fashion_bench.results.records`: What a folder of runs holds: a row per run, and which images each model got right.
- `fashion_bench.results.reference`: What the 2021 post measured, and the number that it ranked by.
- `fashion_bench.results.report`: One file that can be sent: what the runs say, how sure it is, what it cost, and how to run it again.
- `fashion_bench.results.schedules`: One model under several schedules: what each costs and brings, which of equal length is best, and the four curves.
- `fashion_bench.results.scores`: From probabilities and targets to figures, the same for every model.
- `fashion_bench.results.standings`: The leaderboard as a page shows it: what everybody wants to see at once, and the rest where it can be found.
- `fashion_bench.results.verdict`: What the runs say in three sentences: which model, how sure, at what cost.
- `fashion_bench.runs.bench`: Many models on one table: checked before anything starts, each in a process of its own, failures as rows, and nothing lost.
- `fashion_bench.runs.choose`: The model for your photos, for a part of what the whole grid costs: cheap looks first, whole trainings for those that are still in.
- `fashion_bench.runs.engines.in_process`: One run after the other in this process, where one can look on.
- `fashion_bench.runs.engines.job`: A job of a cluster: what it asks for, what it does, and how it tells of that.
- `fashion_bench.runs.engines.local`: Each run in a process of its own on this machine, and a record of it, whatever became of it.
- `fashion_bench.runs.engines.node`: A run on a machine that is not the one where the benchmark was started: what it must find there, and what goes home.
- `fashion_bench.runs.engines.ray`: A grid on every machine of a Ray cluster, and no run lost with a machine.
- `fashion_bench.runs.engines.slurm`: The runs of a grid as jobs of a cluster, which go on when nobody looks.
- `fashion_bench.runs.engines.where`: Which engine is meant, by a word or by what was said of processes.
- `fashion_bench.runs.engines.worker`: A process of its own for each run, so that whatever happens to it happens to it alone.
- `fashion_bench.runs.grid`: Models by sizes by recipes by seeds, checked before anything starts.
- `fashion_bench.runs.learner`: The learner of a run, made again from its folder, to go on with as with any of fastai's.
- `fashion_bench.runs.predictor`: A trained model as two files that anyone may open, and predictions from nothing but them.
- `fashion_bench.runs.probe`: What a run will cost, from a few batches of it.
- `fashion_bench.runs.record`: What a run says of itself: the data it saw, what it cost, and why it failed.
- `fashion_bench.runs.run`: One run: what it is, what it measured, and a folder on disk that keeps both.
- `fashion_bench.training.checkpoint`: Everything that decides how training goes on, kept after every epoch, so that a killed run goes on as if nothing had been.
- `fashion_bench.training.clock`: What a training loop costs: seconds of computing, seconds of waiting for data, memory and energy, measured so that it can be believed.
- `fashion_bench.training.features`: What a frozen backbone sees in every photo, computed once and kept.
- `fashion_bench.training.frozen`: Classes told apart by the features of a frozen backbone: by a vote of neighbours, by a linear classifier, or by their names.
- `fashion_bench.training.lr_finder`: A learning rate for a model that nobody has trained yet, and not a trace of having looked.
- `fashion_bench.training.parallel`: One run on several GPUs: each computes its share of every batch, and the outcome is that of one GPU.
- `fashion_bench.training.precision`: Half the bits where they cost no accuracy: which precision a machine is fast in, and how a learner trains in it.
- `fashion_bench.training.rates`: A schedule's learning rates, before anything is trained by it.
- `fashion_bench.training.recipes`: How a model is trained, as data: something that can be named, recorded, compared and run again.
- `fashion_bench.training.recorder`: Every epoch of every phase and every step, with what it cost, on disk as soon as it is over.
- `fashion_bench.training.retrieval`: Finding the photos that show the same product, by the features of a backbone, and how well that works.
- `fashion_bench.use.alone`: A predictor that needs numpy, Pillow and onnxruntime, and reads photos as the training did, to the last bit.
- `fashion_bench.use.card`: What somebody who gets a model must know of it: what it was taught by, how well it does, where it fails, and whose it is.
- `fashion_bench.use.export`: A folder that can be given away: the model in the formats that are wanted, how true they are to it, and a card.
- `fashion_bench.use.fidelity`: Does the exported model say what the trained one said? On every validation and test photo, with its own preprocessing.
- `fashion_bench.use.formats`: One way to write a trained model in each of three formats, and one way to ask it, whatever it is in.
- `fashion_bench.use.latency`: How long a photo takes in use: each model in each format, one after the other in turn, on this machine."""

from .base.imports import keep_out

keep_out()

__version__ = "0.1.0"
