"The wheel holds what the package needs, and its metadata come from settings.ini."
import configparser, shutil, subprocess, sys, zipfile
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
    assert {'demo', 'dev', 'wandb'} <= set(meta.get_all('Provides-Extra'))
    names = {(o.group, o.name) for o in metadata.distribution('fashion-bench').entry_points}
    assert {('console_scripts', 'fashion-bench'), ('nbdev', 'fashion_bench')} <= names

def test_no_requirement_shuts_out_a_newer_torch():
    for o in metadata.requires('fashion-bench'):
        if o.split('>')[0].strip() in ('torch', 'torchvision', 'timm'): assert '<' not in o and '==' not in o, o

def test_everything_public_imports_in_one_line():
    code = 'from fashion_bench.all import *; print(all(callable(o) for o in (load_table, bench, leaderboard, plot_efficiency, fashion_dls, fashion_learner)))'
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert r.stdout.strip() == 'True', r.stderr

def test_the_wheel_holds_every_module(tmp_path):
    source = shutil.copytree(ROOT, tmp_path/'source', symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv', 'build', '*.egg-info', 'runs'))
    subprocess.run([sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', tmp_path, source], check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist())
    assert {f'fashion_bench/{o.name}' for o in (ROOT/'fashion_bench').glob('*.[pc]*')} <= names
    assert not [o for o in names if o.startswith(('tests', 'tools', 'nbs'))]
