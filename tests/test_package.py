"The wheel holds what the package needs, and its metadata come from settings.ini."
import configparser, json, re, shutil, subprocess, sys, tarfile, zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent

def test_metadata_come_from_settings():
    cfg = configparser.ConfigParser(delimiters='=')
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    meta = metadata.metadata('fashion-bench')
    assert meta['Summary'] == cfg['DEFAULT']['description']
    import fashion_bench
    assert meta['Version'] == fashion_bench.__version__
    extras = {k.removesuffix('_requirements') for k in cfg['DEFAULT'] if k.endswith('_requirements')}
    assert {'demo', 'dev', 'wandb'} <= extras == set(meta.get_all('Provides-Extra'))
    names = {(o.group, o.name) for o in metadata.distribution('fashion-bench').entry_points}
    assert {('console_scripts', 'fashion-bench'), ('nbdev', 'fashion_bench')} <= names

def test_every_extra_that_is_named_is_there():
    files = [*(ROOT/'fashion_bench').rglob('*.py'), *(ROOT/'nbs/tutorials').glob('*.ipynb'), ROOT/'README.md']
    named = {o for f in files for o in re.findall(r'fashion-bench\[([\w,]+)\]', f.read_text(encoding='utf-8'))}
    there = set(metadata.metadata('fashion-bench').get_all('Provides-Extra'))
    assert named and {o for text in named for o in text.split(',')} <= there

def test_no_requirement_shuts_out_a_newer_torch():
    for o in metadata.requires('fashion-bench'):
        if o.split('>')[0].strip() in ('torch', 'torchvision', 'timm'): assert '<' not in o and '==' not in o, o

PUBLIC = """
from fashion_bench.all import *
names = load_table, bench, leaderboard, plot_efficiency, fashion_dls, fashion_learner
print(all(callable(o) for o in names))
"""

def test_everything_public_imports_in_one_line():
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', PUBLIC], capture_output=True, text=True)
    assert r.stdout.strip() == 'True', r.stderr

def test_wheel_and_sdist_hold_every_module(tmp_path):
    left_out = shutil.ignore_patterns('.git', '.venv', 'build', '*.egg-info')
    source = shutil.copytree(ROOT, tmp_path/'source', symlinks=True, ignore=left_out)
    build = [sys.executable, '-m', 'build', '--wheel', '--sdist', '--no-isolation', '--outdir', tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist())
    files = [o for o in (ROOT/'fashion_bench').rglob('*.[pc]*') if '__pycache__' not in o.parts]
    ours = {o.relative_to(ROOT).as_posix() for o in files}
    assert ours <= names
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as f: packed = {o.partition('/')[2] for o in f.getnames()}
    assert {'settings.ini', 'README.md', 'setup.py', 'pyproject.toml', 'LICENSE', *ours} <= packed
    assert {'fashion_bench/py.typed', 'fashion_bench/models/model_facts.csv'} <= names
    assert not [o for o in names if o.startswith(('tests', 'tools', 'nbs'))]

def test_it_runs_as_a_module():
    r = subprocess.run([sys.executable, '-m', 'fashion_bench', '--help'], capture_output=True, text=True)
    assert r.returncode == 0 and 'schedules' in r.stdout, r.stderr

# pip, with the packages of a folder before all others
PIP = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""

def test_a_torch_that_is_there_stays(tmp_path):
    "Colab's case: pip finds an older supported torch, here as its metadata alone, and plans nothing for it"
    for name, version in (('torch', '2.6.0'), ('torchvision', '0.21.0')):
        info = tmp_path/f'site/{name}-{version}.dist-info'
        info.mkdir(parents=True)
        (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        (info/'INSTALLER').write_text('pip\n')
        (info/'RECORD').write_text('')
    report = tmp_path/'report.json'
    install = ['install', '--dry-run', '--quiet', '--no-build-isolation', '--report', report, ROOT]
    r = subprocess.run([sys.executable, '-c', PIP, tmp_path/'site', *install], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    found = [o['metadata'] for o in json.loads(report.read_text())['install']]
    planned = {o['name'].lower(): o['version'] for o in found}
    assert 'fashion-bench' in planned and not {'torch', 'torchvision'} & set(planned), planned
