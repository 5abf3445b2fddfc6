"Everything that pip needs to know, read from `settings.ini` (and the version from the package)."
from configparser import ConfigParser
from pathlib import Path
import re
from setuptools import find_packages, setup

HERE = Path(__file__).parent
cfg = ConfigParser(delimiters='=')
cfg.read(HERE/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']

def lines(key): return [o.strip() for o in cfg[key].splitlines() if o.strip()]

def read(path): return (HERE/path).read_text(encoding='utf-8')

lib = cfg['lib_path']
extras = {k.removesuffix('_requirements'): lines(k) for k in cfg if k.endswith('_requirements')}
pythons = [f'Programming Language :: Python :: 3.{o}' for o in range(10, 14)]

setup(
    version=re.search(r"__version__ = ['\"](.+)['\"]", read(f'{lib}/__init__.py'))[1],
    description=cfg['description'],
    long_description=read('README.md'), long_description_content_type='text/markdown',
    author=cfg['author'], license=cfg['license'], keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}", install_requires=lines('requirements'),
    extras_require=extras,
    packages=find_packages(include=[f'{lib}*']), package_data={'': ['*.csv', 'py.typed']},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': [f'{lib} = {lib}._modidx:d']},
    classifiers=['Development Status :: 4 - Beta', 'Intended Audience :: Science/Research',
                 'Programming Language :: Python :: 3 :: Only', *pythons, 'Typing :: Typed',
                 'Topic :: Scientific/Engineering :: Image Recognition'])
