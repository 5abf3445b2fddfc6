"What a person sees in a terminal of any width, how soon, and what is imported for it."
import fcntl, io, json, os, pty, re, struct, subprocess, sys, termios

import numpy as np
import pytest
from rich.console import Console

MAIN = 'from fashion_bench.cli.main import main; main()'
WIDTHS = (60, 80, 100, 140)
COMMANDS = ('audit', 'cache', 'choose', 'compare', 'demo', 'export', 'grid', 'models', 'predict', 'report', 'run',
            'schedules', 'show', 'wandb-sync', 'weights fetch')

def fashion_bench(*args, code=MAIN, **kwargs):
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300, **kwargs)

def in_terminal(columns, *args):
    "What `fashion-bench` writes to a terminal of so many columns, as lines, and its exit code"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))
    env = {k: v for k,v in os.environ.items() if k not in ('COLUMNS', 'LINES')} | dict(TERM='xterm')
    how = dict(stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    process = subprocess.Popen([sys.executable, '-c', MAIN, *map(str, args)], **how)
    os.close(theirs)
    said = b''
    while True:
        try: part = os.read(ours, 2**16)
        except OSError: break # it has ended
        if not part: break
        said += part
    os.close(ours)
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', said.decode())
    return text.replace('\r\n', '\n').split('\n'), process.wait(timeout=60)

def write_run(out, model, weights, right, seed=42, recipe='fine_tune(3, freeze_epochs=1, base_lr=0.002), bs=32'):
    "The folder of a run that got the share `right` of 200 photos right"
    rng, target = np.random.default_rng(seed + len(model)), np.arange(200) % 4
    probs = np.eye(4)[np.where(rng.random(200) < right, target, (target + 1) % 4)]*.7 + .075
    split = np.where(np.arange(200) < 100, 'valid', 'test')
    spec = dict(data='f00d', model=model, weights=weights, recipe=recipe, size=96, seed=seed)
    figures = dict(minutes_per_epoch=right*2, compute_minutes_per_epoch=right, wait_share=.05, busy_share=0.)
    for o in ('valid', 'test'): figures[f'{o}_accuracy'] = float((probs.argmax(1) == target)[split == o].mean())
    data = dict(source='a shop', classes=['coat', 'dress', 'jeans', 'tee'], images=dict(train=100, valid=100, test=100))
    record = dict(status='finished', spec=spec, data=data, environment=dict(device='cpu'), figures=figures,
                  source=dict(weights=weights, tag='in1k' if weights == 'pretrained' else ''), seconds=60.)
    folder = out/f'{model}-{weights}-{seed}-{len(recipe)}'.replace('/', '-')
    folder.mkdir(parents=True)
    (folder/'run.json').write_text(json.dumps(record))
    np.savez(folder/'predictions.npz', image=np.array([f'{i}.jpg' for i in range(200)]), split=split, target=target,
             probs=probs)

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "Models with long names, one of them trained in two ways, and another from scratch"
    out = tmp_path_factory.mktemp('terminal')/'runs'
    write_run(out, 'timm/vit_base_patch16_clip_224.openai', 'pretrained', .9)
    write_run(out, 'timm/tf_efficientnet_lite0.in1k', 'pretrained', .7)
    write_run(out, 'timm/tf_efficientnet_lite0.in1k', 'scratch', .5)
    write_run(out, 'fastai/xresnet18', 'scratch', .3, recipe='ep10_bs64_lr1.4e-3_lr1e-5_lr1e-6')
    return out

@pytest.mark.parametrize('columns', WIDTHS)
def test_a_leaderboard_has_a_line_for_each_model_and_none_is_too_long(runs, columns):
    lines, code = in_terminal(columns, 'show', runs, '--chart', runs/'c.png')
    assert code == 0, lines
    ours = [o for o in lines if not o.startswith('Chart: ')] # a path can be copied
    assert max(map(len, ours)) <= columns, lines
    board = lines[:lines.index('')]
    assert len(board) == 5 and {'rank', 'model', 'accuracy', 'epoch'} <= set(board[0].split()), board
    assert [o.split()[0].split('-')[0].isdecimal() for o in board[1:]] == [True]*4
    assert all(n in o for n,o in zip(['clip_224', 'lite0', 'lite0', 'xresnet18'], board[1:])), board
    assert ['scratch' in o for o in board[2:4]] == [False, True] # else they would be one
    assert all(re.search(r'\b(\d+ s|\d:\d\d min)', o) for o in board[1:]), board # whole

def test_more_room_shows_more_and_a_file_shows_all(runs):
    heads = [in_terminal(o, 'show', runs, '--chart', runs/'c.png')[0][0].split() for o in WIDTHS]
    assert all(set(a) <= set(b) for a,b in zip(heads, heads[1:])) and len(heads[0]) < len(heads[-1])
    whole = fashion_bench('show', runs, '--chart', runs/'c.png').stdout
    assert 'computing' in whole.splitlines()[0] and 'No room' not in whole and '…' not in whole
    narrow = '\n'.join(in_terminal(60, 'show', runs, '--chart', runs/'c.png')[0])
    assert 'No room for computing' in narrow

@pytest.mark.parametrize('columns', WIDTHS)
def test_a_bar_is_seen_and_what_changes_is_whole(columns):
    from fashion_bench.base.specs import RunSpec
    from fashion_bench.data.sources import load_table
    from fashion_bench.follow.progress import BarProgress
    from fashion_bench.training.recipes import Recipe
    table = load_table('wardrobe', subset='top=4,per_class=16')
    spec = RunSpec('f00d', 'timm/vit_base_patch16_clip_224.openai', recipe=Recipe(3, 1, bs=8))
    bars = BarProgress(Console(file=io.StringIO(), force_terminal=True, width=columns))
    bars.before_bench([spec], table)
    bars.before_run(spec)
    said = Console(file=io.StringIO(), width=columns)
    for o in (dict(event='epoch', nth=1), dict(event='batches', n=2), dict(event='batches', n=4),
              dict(event='accuracy', value=.4), dict(event='epoch', nth=2)): bars.on_event(spec, o)
    said.print(bars.bar.get_renderable())
    bars.after_bench()
    every, run = said.file.getvalue().splitlines()
    assert max(len(every), len(run)) <= columns
    assert '━' in every and '━' in run and 'epoch 2/4, valid 0.400' in run and '[1/1] timm' in run
    assert every.startswith('0 of 1 runs') and re.search(r'(s|min|\?)$', run.strip())

def options(text): return set(re.findall(r'(?<![\w-])--[a-z][a-z-]*', text))

@pytest.mark.parametrize('command', ['', 'run', 'choose', 'models', 'wandb-sync'])
def test_help_names_every_option_whole_in_a_narrow_terminal(command):
    words, envs = [*command.split(), '--help'], [os.environ | dict(COLUMNS=o) for o in ('50', '160')]
    helped = [fashion_bench(*words, env=o).stdout.split('Examples:')[0] for o in envs]
    assert options(helped[1]) == options(helped[0]) and '--help' in helped[0]
    assert max(map(len, helped[0].splitlines())) <= 50

def test_the_options_of_run_are_grouped_with_examples():
    said = fashion_bench('run', '-h', env=os.environ | dict(COLUMNS='80')).stdout
    heads = re.findall(r'─ (\w+) ─', said)
    assert heads == ['Arguments', 'Options', 'Data', 'Models', 'Training', 'Machine', 'Output']
    assert options(said.split('─ Data ─')[0]) == {'--help'}
    assert said.count('fashion-bench run ') >= 4 and 'Examples' in said

@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_a_short_help(command):
    from typer.testing import CliRunner
    from fashion_bench.cli.main import app
    r = CliRunner().invoke(app, [*command.split(), '-h'])
    assert r.exit_code == 0 and 'Usage' in r.output

def test_version_and_completion():
    import fashion_bench as package
    assert fashion_bench('--version').stdout == f'fashion-bench {package.__version__}\n'
    assert {'--install-completion', '--show-completion'} <= options(fashion_bench('--help').stdout)
    env = os.environ | dict(_FASHION_BENCH_COMPLETE='complete_bash', COMP_WORDS='fashion-bench sche', COMP_CWORD='1')
    code = "import sys; sys.argv = ['fashion-bench']; " + MAIN
    assert fashion_bench(code=code, env=env).stdout.split() == ['schedules']

@pytest.mark.parametrize('args', ['models', '--help', 'run --help', 'show RUNS', 'compare RUNS RUNS'])
def test_who_reads_no_further_ends_a_command_quietly(runs, args):
    words = [str(runs) if o == 'RUNS' else o for o in args.split()]
    process = subprocess.Popen([sys.executable, '-c', MAIN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close() # as `head` does, but at once
    assert (process.stderr.read(), process.wait(timeout=120)) == (b'', 0)

def test_a_run_whose_output_nobody_reads_is_stopped_and_says_how_to_go_on(tmp_path):
    ask = ('run', 'wardrobe', '--subset', 'top=2,per_class=16', '--models', 'timm/test_resnet', '--weights', 'scratch',
           '--size', '32', '--bs', '8', '--num-workers', '0', '--out', tmp_path/'runs')
    process = subprocess.Popen([sys.executable, '-c', MAIN, *map(str, ask)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    for _ in range(2): process.stdout.readline() # the data is read
    process.stdout.close()
    said = process.stderr.read()
    assert 'Traceback' not in said, said
    assert (process.wait(timeout=120), 'Stopped. What is finished is in' in said) in ((130, True), (0, False)), said

MODULES = """
import sys
sys.argv = ['fashion-bench', *sys.argv[1:]]
from fashion_bench.cli.main import main
try: main()
except SystemExit as e: code = e.code
asked = {'torch', 'torchvision', 'fastai', 'timm', 'wandb', 'tensorboard'}
print('', code, *sorted(asked & set(sys.modules)), sep='\\n', file=sys.stderr)
"""

def modules(*args, **kwargs):
    "Exit code, and what heavy or unasked was imported"
    *_, said = fashion_bench(*args, code=MODULES, **kwargs).stderr.split('\n\n')
    code, *found = said.split()
    return int(code or 0) if code != 'None' else 0, found

WRONG = ['run /no/such/folder --models resnet18', 'run wardrobe', 'run wardrobe --models resnt18', 'run none.toml',
         'run wardrobe --models resnet18 --head mlp', 'run wardrobe --models resnet18 --size big',
         'run wardrobe --models resnet18 --lr fast', 'run wardrobe --models resnet18 --budget soon',
         'run wardrobe --models resnet18 --weights none.pth', 'run wardrobe --models resnet18 --split mine',
         'run wardrobe --models resnet18 --track mlflow', 'run wardrobe --modelz resnet18', 'schedules /no/such/folder',
         'choose /no/such/folder --models small', 'predict /no/such/run photo.jpg', 'export /no/such/run --to there',
         'weights fetch resnt18', 'audit /no/such/folder', 'show /no/such/runs', 'report /no/such/runs',
         'compare /no/such/runs 2021']

@pytest.mark.parametrize('command', WRONG)
def test_what_is_wrong_is_said_before_torch_is_imported(command, tmp_path):
    assert modules(*command.split(), cwd=tmp_path) == (2, [])

@pytest.mark.parametrize('command', ['show RUNS', 'report RUNS', 'compare RUNS RUNS', 'grid RUNS', 'models resnet34'])
def test_results_are_read_without_torch(runs, command, tmp_path):
    words = [runs if o == 'RUNS' else o for o in command.split()]
    for o in runs.glob('*/run.json'): # a grid knows where its data was
        record = json.loads(o.read_text())
        record['data'] |= dict(load=dict(data='photos'))
        o.write_text(json.dumps(record))
    code, found = modules(*words, cwd=tmp_path)
    assert (code, found) == (0, []) or command.startswith('grid') and found == []

def test_who_waits_is_told_for_what(tmp_path):
    ask = 'run', 'wardrobe', '--models', 'resnet18', '--recipe', 'ep1_bs8', '--out', tmp_path/'runs'
    lines, code = in_terminal(80, *ask)
    assert code == 2 and 'Loading torch ...' in lines and 'has no lr' in '\n'.join(lines), lines
    assert 'Loading torch' not in fashion_bench(*ask).stderr # a log has no use for it

EVERYTHING = """
import importlib, pkgutil, sys
import fashion_bench, fashion_bench.all
for o in pkgutil.walk_packages(fashion_bench.__path__, 'fashion_bench.'):
    if not o.name.rpartition('.')[2].startswith('_'): importlib.import_module(o.name)
print('torch' in sys.modules, 'timm' in sys.modules, sorted({'wandb', 'tensorboard'} & set(sys.modules)))
"""

def test_no_tracker_is_imported_unless_it_is_asked_for_and_no_folder_is_left(runs, tmp_path):
    env = os.environ | dict(TMPDIR=str(tmp_path))
    r = fashion_bench(code=EVERYTHING, env=env)
    assert r.stdout == 'True True []\n', r.stdout + r.stderr
    assert r.stderr == '' # no warning either
    assert modules('show', runs, '--chart', runs/'c.png', env=env) == (0, [])
    left = {o.name for o in tmp_path.iterdir() if not o.name.startswith('torchinductor_')} # torch's cache, one a user
    assert not left

def test_choices_are_those_that_there_are():
    from fashion_bench.base.specs import CHOICES
    from fashion_bench.models.groups import GROUPS
    from fashion_bench.models.learner import HEADS
    from fashion_bench.runs.engines.where import _CLUSTERS
    from fashion_bench.training.precision import PRECISIONS
    assert CHOICES == dict(groups=tuple(GROUPS), head=tuple(HEADS), precision=('auto', *PRECISIONS),
                           task=('classification', 'retrieval'),
                           engine=('local', *_CLUSTERS))

def test_names_are_checked_as_the_libraries_know_them():
    from fashion_bench.models.catalogue import check_names
    from fashion_bench.models.registry import NAMES
    check_names([f'{library}/{o}' for library,names in NAMES.items() for o in names()[::40]])
