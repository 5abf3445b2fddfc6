"open_clip's pairs of towers, from a folder in its own format with random weights: as backbones, and without training."
import json

import numpy as np
import pytest

open_clip = pytest.importorskip('open_clip')
import torch
from safetensors.torch import save_file
from fashion_bench.base.answers import read_predictions, read_ranks
from fashion_bench.base.errors import InputError
from fashion_bench.base.record import read_record
from fashion_bench.data.loaders import PixelReader
from fashion_bench.data.sources import load_table
from fashion_bench.data.table import classes, image_paths
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.groups import even_groups, param_layers
from fashion_bench.models.texts import Prompts
from fashion_bench.runs.bench import bench
from fashion_bench.runs.predictor import load_predictor

TEXTS = dict(context_length=16, vocab_size=49408, width=32, heads=2, layers=1)
SMALL = dict(image_size=64, layers=4, width=32, head_width=16, patch_size=16)
TIMMS = dict(image_size=224, timm_model_name='vit_tiny_patch16_224', timm_pool='token', timm_proj='linear')
MODELS = dict(small=SMALL, timms=TIMMS)

def write_pair(folder, vision, **more):
    "A pair of towers as open_clip writes it"
    folder.mkdir(parents=True)
    config = dict(embed_dim=24, vision_cfg=vision, text_cfg=TEXTS)
    how = dict(mean=[.5]*3, std=[.5]*3, interpolation='bilinear')
    (folder/'open_clip_config.json').write_text(json.dumps(dict(model_cfg=config, preprocess_cfg=how) | more))
    (folder/'README.md').write_text('---\nlicense: cc-by-nc-4.0\n---\n')
    torch.manual_seed(42)
    pair = open_clip.create_model(f'local-dir:{folder}')
    save_file(pair.state_dict(), folder/'open_clip_model.safetensors')
    return pair.eval()

@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
    "Both pairs, in a folder of weights"
    home = tmp_path_factory.mktemp('weights')
    found = {o: write_pair(home/f'open_clip-hf-hub-someone-{o}', v) for o,v in MODELS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FASHION_BENCH_WEIGHTS', str(home))
        yield found

@pytest.fixture(scope='module')
def table(): return load_table('wardrobe', subset='top=3,per_class=16')

def name(o): return f'open_clip/hf-hub:someone/{o}'

@pytest.mark.parametrize('which', MODELS)
def test_a_tower_is_the_one_in_the_file_without_its_projection(pairs, which):
    bb = build_backbone(name(which), size=MODELS[which]['image_size'])
    x = torch.randn(2, 3, *[MODELS[which]['image_size']]*2)
    visual = pairs[which].visual
    with torch.no_grad():
        ours, theirs = bb.eval()(x), visual(x)
        project = visual.head if which == 'timms' else lambda f: f @ visual.proj
        assert torch.allclose(project(ours), theirs, atol=1e-5)
        whole = build_backbone(name(which), size=x.shape[-1], model_args=dict(projected=True)).eval()
        assert torch.allclose(whole(x), theirs, atol=1e-6)
    assert bb.source['licence'] == 'cc-by-nc-4.0' and bb.info.mean == (.5, .5, .5)

@pytest.mark.parametrize('which', MODELS)
def test_a_tower_takes_other_sizes_and_has_groups_of_equal_depth(pairs, which):
    bb = build_backbone(name(which), size=96)
    assert bb(torch.zeros(2, 3, 96, 96)).shape == (2, bb.nf)
    blocks = [n for n,_ in param_layers(bb) if 'blocks' in n]
    assert len(blocks) == {'small': 4, 'timms': 12}[which]
    first, second, _ = even_groups(torch.nn.Sequential(bb, torch.nn.Linear(bb.nf, 2)))
    assert .5 < sum(p.numel() for p in first)/sum(p.numel() for p in second) < 2

@pytest.fixture(scope='module')
def runs(pairs, table, tmp_path_factory):
    "Zero-shot of both, and one trained and looked at"
    out = tmp_path_factory.mktemp('runs')
    models = list(map(name, MODELS))
    how = dict(size=64, isolate=False, num_workers=0)
    zero = bench(table, models, out, recipe='zero_shot', **how)
    rest = bench(table, models[0], out, recipe=['linear_probe', 'ep1_bs8_lr1e-3'], **how)
    return out, zero, rest

def pixels(rows, size=64):
    "Squares as we cut them, as a pair takes them"
    reader = PixelReader(size, 'bilinear')
    x = np.stack([reader.square(reader(o)) for o in image_paths(rows)])
    return (torch.from_numpy(x).float()/255 - .5)/.5

def by_hand(pair, table, size=64):
    "Probabilities of a pair as its authors compute them, from squares as we cut them"
    x = pixels(table[table.split == 'valid'], size)
    split, prompts = open_clip.get_tokenizer('ViT-B-32', context_length=16), Prompts()
    with torch.no_grad():
        told = [pair.encode_text(split(prompts.of(o)), normalize=True).mean(0) for o in classes(table)]
        told = torch.nn.functional.normalize(torch.stack(told), dim=-1)
        return (pair.logit_scale.exp()*pair.encode_image(x, normalize=True) @ told.T).softmax(-1).numpy()

def test_zero_shot_is_what_the_pair_says_of_names(runs, pairs, table):
    out, zero, _ = runs
    assert [o['status'] for o in zero] == ['finished']*2
    record = zero[0]
    got = read_predictions(out/record['folder'], 'valid')['probs']
    assert np.abs(got - by_hand(pairs['small'], table)).max() < 1e-4
    assert record['network']['prompts']['words'] == {o: o.lower() for o in classes(table)}
    assert record['figures']['trainable_parameters'] == 0

def test_products_are_looked_for_in_the_space_of_the_pair(pairs, tmp_path):
    "By `projected` in that of photos and texts, by `frozen` in that of the tower before"
    rows = load_table('wardrobe', subset='top=3')
    how = dict(task='retrieval', size=64, precision='fp32', isolate=False, num_workers=0)
    found = {o: bench(rows, name('small'), tmp_path, recipe=o, **how)[0] for o in ('projected', 'frozen')}
    valid = rows[rows.split == 'valid'].reset_index(drop=True)
    with torch.no_grad(): x = pairs['small'].encode_image(pixels(valid), normalize=True).numpy()
    ranks, products = read_ranks(tmp_path/found['projected']['folder'], 'valid'), valid.group.to_numpy()
    at = {o: i for i,o in enumerate(valid.image)}
    for image, first in zip(ranks['image'], ranks['first']):
        alike, same = x @ x[at[image]], products == products[at[image]]
        alike[at[image]] = -np.inf
        nearest = alike[same & np.isfinite(alike)].max()
        assert (alike > nearest + 1e-5).sum() < first <= (alike > nearest - 1e-5).sum()
    assert found['projected']['id'] != found['frozen']['id']
    assert found['projected']['figures']['valid_map'] != found['frozen']['figures']['valid_map']

def test_a_look_and_a_training_begin_with_the_same_weights(runs):
    _, zero, rest = runs
    digests = {o['source']['digest'] for o in (zero[0], *rest)}
    assert len(digests) == 1 and [o['status'] for o in rest] == ['finished']*2

def test_a_trained_tower_predicts_where_there_is_neither_hub_nor_folder(runs, table, monkeypatch):
    out, _, rest = runs
    monkeypatch.delenv('FASHION_BENCH_WEIGHTS')
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    folder, rows = out/rest[1]['folder'], table[table.split == 'valid']
    assert json.loads((folder/'model.json').read_text())['network'] == 'open_clip/ViT-B-32'
    got = load_predictor(folder).probabilities(image_paths(rows))
    kept = read_predictions(folder, 'valid')['probs']
    assert np.abs(got - kept).max() < (1e-4 if read_record(folder)['precision'] == 'fp32' else .05)

def test_prompts_of_ones_own_are_other_runs(runs, table, tmp_path):
    out, zero, _ = runs
    (tmp_path/'prompts.toml').write_text('templates = ["a drawing of a {}."]\n')
    own, = bench(table, name('small'), out, recipe=f"zero_shot({tmp_path/'prompts.toml'})", size=64, isolate=False,
                 num_workers=0)
    assert own['id'] != zero[0]['id'] and own['network']['prompts']['templates'] == ['a drawing of a {}.']
    (tmp_path/'prompts.toml').write_text('templates = ["no more {}."]\n')
    with pytest.raises(InputError, match='holds other prompts than it did'):
        bench(table, name('small'), out, recipe=own['spec']['recipe'], size=64, isolate=False)

def test_what_has_no_text_tower_is_refused_before_anything_starts(pairs, table, tmp_path):
    with pytest.raises(InputError, match='timm/tf_efficientnet_lite0.in1k has no text tower'):
        bench(table, f"{name('small')},timm/tf_efficientnet_lite0", tmp_path/'out', recipe='zero_shot', isolate=False)
    coded = table.assign(label=table.label.map({o: f'cls_{i:02d}' for i,o in enumerate(classes(table))}))
    with pytest.raises(InputError, match='mean nothing to a text tower'):
        bench(coded, name('small'), tmp_path/'out', recipe='zero_shot', isolate=False)
    assert not (tmp_path/'out').exists()

def test_pickled_pairs_and_code_of_their_own_are_refused(pairs, tmp_path, monkeypatch):
    folder = tmp_path/'open_clip-hf-hub-someone-pickled'
    pair = write_pair(folder, SMALL)
    (folder/'open_clip_model.safetensors').unlink()
    torch.save(pair, folder/'open_clip_pytorch_model.bin')
    other = tmp_path/'open_clip-hf-hub-someone-coded'
    other.mkdir()
    (other/'open_clip_config.json').write_text(json.dumps(dict(auto_map=dict(AutoModel='their.Model'))))
    monkeypatch.setenv('FASHION_BENCH_WEIGHTS', str(tmp_path))
    with pytest.raises(InputError, match='holds a pickled model, which would run code of its own'):
        build_backbone(name('pickled'), size=64)
    with pytest.raises(InputError, match='needs code of its own, which is not run here'):
        build_backbone(name('coded'), size=64)
