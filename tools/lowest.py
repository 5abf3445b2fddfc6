"""Print the requirements of settings.ini at their lowest versions, for `pip install -c` or `-r`.
Usage: python tools/lowest.py [EXTRA...]"""
import re, sys
from configparser import ConfigParser
from pathlib import Path

def lowest(extras=()):
    "Lines such as `pandas==2.2`, of the package and of some extras"
    cfg = ConfigParser(delimiters='=')
    cfg.read(Path(__file__).parent.parent/'settings.ini', encoding='utf-8')
    keys = ['requirements', *(f'{o}_requirements' for o in extras)]
    lines = [o.strip() for k in keys for o in cfg['DEFAULT'][k].splitlines() if o.strip()]
    return [re.sub(r'>=([\d.]+)[^;]*', lambda m: f'=={m[1]}', o).strip() for o in lines]

if __name__ == '__main__': print('\n'.join(lowest(sys.argv[1:])))
