"""What goes wrong with models, a test of each kind: old names, odd networks, sizes that do not fit, weights out of
reach, counts that change."""
import os, subprocess, sys, time

import pytest, timm, torch
from torch import nn
from fashion_bench.data.loaders import fashion_dls
from fashion_bench.data.sources import load_table
from fashion_bench.base.licences import licence_group
from fashion_bench.models.backbones import build_backbone
from fashion_bench.models.catalogue import SUITES, list_models, model_facts
from fashion_bench.models.groups import even_groups, fastai_groups
from fashion_bench.models.learner import describe_model, fashion_learner, fastai_head, learner_summary
from fashion_bench.models.registry import NAMES, model_info, model_inputs
from fashion_bench.models.weights import WeightsUnavailable

def small_table(): return load_table('wardrobe', subset='top=2,per_class=20')

def scratch_learner(table, name, size=64, **kwargs):
    "A learner of a network without pretrained weights, on images of its own size and statistics"
    dls = fashion_dls(table, **model_inputs(name, size), bs=4, num_workers=0)
    return fashion_learner(dls, name, 'scratch', **kwargs)

@pytest.mark.parametrize('old,new', [
    ('timm/xception', 'legacy_xception.tf_in1k'),
    ('timm/tv_densenet121', 'densenet121.tv_in1k'),
    ('timm/vit_base_patch16_224_in21k', 'vit_base_patch16_224.augreg_in21k')])
def test_old_names_are_resolved_to_architecture_and_tag(old, new):
    assert model_info(old).name.startswith(f'timm/{new}')

@pytest.mark.parametrize('name,near', [
    ('timm/gluon_xception65', 'xception65'),
    ('timm/efficientnet_b0.nope', 'ra_in1k'),
    ('timm/effcientnet_b0', 'did you mean timm/efficientnet_b0'),
    ('torchvision/resnet34.NOPE', 'IMAGENET1K_V1'),
    ('keras/vgg16', 'unknown model')])
def test_unknown_names_get_near_matches(name, near):
    with pytest.raises(ValueError, match=near): model_info(name)

ODD = [('torchvision/vit_b_32', 224), ('torchvision/mnasnet0_5', 64), ('torchvision/inception_v3', 96),
       ('torchvision/googlenet', 64), ('torchvision/maxvit_t', 224), ('torchvision/mobilenet_v2', 64),
       ('torchvision/swin_t', 64), ('timm/swin_tiny_patch4_window7_224', 96), ('timm/vit_tiny_patch16_224', 64),
       ('timm/xcit_nano_12_p8_224', 64), ('timm/convnext_atto', 64), ('timm/resnet50_clip.openai', 64),
       ('timm/mixer_s32_224', 224), ('fastai/xse_resnet18', 64)]

@pytest.mark.parametrize('name,size', ODD)
def test_networks_of_every_make_give_logits_in_training_mode(name, size):
    bb = build_backbone(name, 'scratch', size)
    model = nn.Sequential(bb, fastai_head(bb.nf, 5, bb.spatial)).train()
    y = model(torch.randn(2, 3, size, size))
    assert y.shape == (2, 5)
    y.sum().backward()
    groups = even_groups(model)
    assert len(groups) == 3 and all(any(p.grad is not None for p in g) for g in groups)

@pytest.mark.parametrize('name,size', [('torchvision/vit_b_32', 96), ('timm/inception_v4', 32)])
def test_a_size_that_does_not_fit_is_refused_at_build(name, size):
    with pytest.raises(ValueError, match=f'cannot take images of size {size}.*its own size is'):
        build_backbone(name, 'scratch', size)

def fastai_arch(name):
    "What `vision_learner` takes for a network of ours: timm's name, or a function"
    from fastai.vision import models
    library, arch = name.split('/')
    if library == 'timm': return arch
    return getattr(models.xresnet if library == 'fastai' else models, arch)

@pytest.mark.parametrize('name', [
    'torchvision/resnet34', 'torchvision/densenet121', 'torchvision/vgg11', 'torchvision/alexnet',
    'torchvision/squeezenet1_0', 'fastai/xresnet34', 'fastai/xresnext34', 'timm/resnet18'])
def test_fastai_groups_are_those_of_vision_learner(name):
    from fastai.vision.all import DataLoaders, vision_learner
    plain = vision_learner(DataLoaders([], []), fastai_arch(name), pretrained=False, normalize=False, n_out=5,
                           loss_func=nn.CrossEntropyLoss())
    bb = build_backbone(name, 'scratch', 64)
    ours = fastai_groups(nn.Sequential(bb, fastai_head(bb.nf, 5, bb.spatial)))
    def counts(groups): return [sum(p.numel() for p in g) for g in groups]
    assert counts(ours) == counts(plain.splitter(plain.model))

def test_counts_do_not_depend_on_freezing():
    learn = scratch_learner(small_table(), 'torchvision/resnet18')
    total = learner_summary(learn).parameters.sum()
    learn.freeze()
    frozen = learner_summary(learn)
    assert frozen.parameters.sum() == total and frozen.trainable.sum() < total

@pytest.mark.parametrize('name', ['timm/vit_base_patch16_clip_224.openai', 'torchvision/resnet18', 'fastai/xresnet50'])
def test_weights_out_of_reach_are_refused_within_seconds(name, tmp_path, monkeypatch):
    for k in ('HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'): monkeypatch.setenv(k, 'http://127.0.0.1:9')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('fashion_bench.models.backbones.cached_weights', lambda info: None)
    start = time.perf_counter()
    with pytest.raises(WeightsUnavailable, match='cannot be reached.*once so that they are cached'):
        build_backbone(name)
    assert time.perf_counter() - start < 5

def test_a_file_fills_a_network_whatever_wraps_its_names(tmp_path):
    from safetensors.torch import save_file
    net = timm.create_model('resnet18', num_classes=3)
    for prefix in ('', 'module.', 'backbone.', 'visual.trunk.'):
        save_file({prefix + k: v for k,v in net.state_dict().items()}, tmp_path/'w.safetensors')
        filled = build_backbone('timm/resnet18', tmp_path/'w.safetensors', 64).body
        assert torch.equal(filled.conv1.weight, net.conv1.weight), prefix
    headless = {k: v for k,v in net.state_dict().items() if not k.startswith('fc.')}
    torch.save(dict(state_dict=headless), tmp_path/'w.pth')
    assert build_backbone('timm/resnet18', tmp_path/'w.pth', 64).source['weights'] == 'file'
    del headless['layer1.0.conv1.weight']
    torch.save(headless, tmp_path/'w.pth')
    with pytest.raises(ValueError, match='1 of .* tensors are missing.*layer1.0.conv1.weight'):
        build_backbone('timm/resnet18', tmp_path/'w.pth', 64)

def test_a_pickle_that_runs_code_is_not_opened(tmp_path):
    class Evil:
        def __reduce__(self): return (os.system, (f'touch {tmp_path}/pwned',))
    torch.save(dict(state_dict=Evil()), tmp_path/'w.pth')
    with pytest.raises(ValueError, match='holds a pickled model, which would run code'):
        build_backbone('timm/resnet18', tmp_path/'w.pth', 64)
    assert not (tmp_path/'pwned').exists()

CATALOGUE = """
import sys
from fashion_bench.cli.main import app
app(['models', 'timm/tf_efficientnet_lite*', '--max-params', '5M', '--json'], standalone_mode=False)
print(sorted({'torch', 'timm', 'fastai'} & set(sys.modules)))
"""

def test_the_catalogue_answers_without_torch_or_network():
    r = subprocess.run([sys.executable, '-c', CATALOGUE], capture_output=True, text=True)
    assert 'tf_efficientnet_lite1' in r.stdout and 'lite4' not in r.stdout, r.stdout + r.stderr
    assert r.stdout.strip().endswith('[]'), r.stdout + r.stderr

def test_what_the_catalogue_lists_is_what_the_libraries_have():
    listed = {o.split('.')[0] for o in model_facts().name}
    if timm.__version__ == '1.0.31': assert {f'timm/{o}' for o in timm.list_models()} <= listed
    assert {f'torchvision/{o}' for o in NAMES['torchvision']()} <= listed
    assert {f'fastai/{o}' for o in NAMES['fastai']()} <= listed

# --- One policy for networks of all libraries

def settings(net):
    "The plain settings of all parts of a network, without auxiliary classifiers, which a backbone drops"
    plain = bool, int, float, str, tuple
    parts = {n: m for n,m in net.named_modules() if not n.startswith(('aux', 'AuxLogits'))}
    return {f'{n}.{k}': v for n,m in parts.items() for k,v in vars(m).items()
            if isinstance(v, plain) and k not in ('training', 'aux_logits')}

def as_with_weights(name):
    "torchvision's network as its builder makes it to load the pretrained weights, without loading them"
    from torchvision.models import WeightsEnum, get_model, get_model_weights
    with pytest.MonkeyPatch.context() as m:
        m.setattr(WeightsEnum, 'get_state_dict', lambda *args, **kwargs: {})
        m.setattr(nn.Module, 'load_state_dict', lambda *args, **kwargs: None)
        return get_model(name, weights=get_model_weights(name).DEFAULT)

def test_torchvisions_networks_are_what_their_weights_were_trained_in():
    """Its constructors take other arguments if they load the weights themselves; from a file, the network must be the
    same one"""
    import torchvision
    from fashion_bench.models.backbones import NETS
    names = [o for o in torchvision.models.list_models(module=torchvision.models) if 'regnet' not in o]
    assert len(names) > 50
    for name in [*names, 'regnet_x_400mf', 'regnet_y_400mf']: # all regnets are made by one function, which needs values
        with torch.device('cpu' if 'regnet' in name else 'meta'):
            ours = NETS['torchvision'](model_info(f'torchvision/{name}'))
            assert settings(ours) == settings(as_with_weights(name)), name

@pytest.mark.parametrize('name', ['googlenet', 'inception_v3'])
def test_a_file_gives_the_outputs_that_torchvision_gives(name, tmp_path):
    from torchvision.models import get_model
    plain = get_model(name, init_weights=False, aux_logits=True)
    torch.save(plain.state_dict(), tmp_path/'w.pth')
    theirs = as_with_weights(name)
    theirs.load_state_dict({k: v for k,v in plain.state_dict().items() if k in theirs.state_dict()})
    ours = build_backbone(f'torchvision/{name}', tmp_path/'w.pth', 96).eval()
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad(): assert torch.allclose(ours(x), theirs.eval()(x), atol=1e-5)

FAMILIES = [
    ('torchvision/efficientnet_b0', 64), ('timm/efficientnet_b0', 64), ('timm/tf_efficientnet_lite0', 64),
    ('torchvision/convnext_tiny', 64), ('timm/convnext_tiny', 64),
    ('torchvision/swin_t', 64), ('timm/swin_tiny_patch4_window7_224', 64), ('torchvision/maxvit_t', 224),
    ('torchvision/vit_b_32', 224), ('timm/vit_base_patch32_224', 224),
    ('torchvision/resnet18', 64), ('timm/resnet18', 64), ('fastai/xresnet18', 64), ('timm/resnetv2_50x1_bit', 64),
    ('timm/cait_xxs24_224', 224), ('timm/xcit_nano_12_p8_224', 64),
    ('torchvision/densenet121', 64), ('timm/densenet121', 64), ('torchvision/googlenet', 64),
    ('torchvision/mnasnet0_5', 64), ('torchvision/mobilenet_v3_large', 64), ('timm/mobilenetv3_large_100', 64),
    ('torchvision/shufflenet_v2_x1_0', 64), ('torchvision/regnet_y_400mf', 64)]

# The same network in two libraries
TWINS = [
    ('torchvision/efficientnet_b0', 'timm/efficientnet_b0'),
    ('torchvision/convnext_tiny', 'timm/convnext_tiny'),
    ('torchvision/vit_b_32', 'timm/vit_base_patch32_224'),
    ('torchvision/resnet18', 'timm/resnet18'),
    ('torchvision/densenet121', 'timm/densenet121')]

@pytest.fixture(scope='module')
def learners():
    "A learner of each family and library under the default recipe"
    table = small_table()
    return {name: scratch_learner(table, name, size) for name,size in FAMILIES}

def rounded(values): return tuple(round(v, 4) for v in values)

def statistics(learn):
    "Means and standard deviations that a learner normalizes by"
    norms = [o for o in learn.dls.after_batch.fs if hasattr(o, 'std')]
    return [rounded(p.flatten().tolist()) for o in norms for p in (o.mean, o.std)]

def test_all_networks_are_held_back_alike(learners):
    found = {k: describe_model(o) for k,o in learners.items()}
    for name, o in found.items():
        assert o['drop_path'] in (None, 0.) and o['dropout'] == 0, (name, o)
        assert o['head_dropout'] == [.25, .5] and o['batch_norms_frozen'] == 0, (name, o)
        info = model_info(name)
        assert statistics(learners[name]) == [rounded(info.mean), rounded(info.std)], name
    pooled = {k: o['pooling'] for k,o in found.items()}
    for k in ('torchvision/resnet18', 'timm/resnet18', 'fastai/xresnet18'): assert pooled[k] == 'average and maximum', k
    assert pooled['torchvision/vit_b_32'] == pooled['timm/vit_base_patch32_224'] == "the network's own"
    for a, b in TWINS: assert found[a]['decayed'] == found[b]['decayed'], (a, b) # the same network, the same decay

def norm_parameters(model):
    "The names of all parameters of normalizations, of any make"
    norms = {n: m for n,m in model.named_modules() if 'Norm' in type(m).__name__}
    return {f'{n}.{k}' for n,m in norms.items() for k,_ in m.named_parameters(recurse=False)}

def test_nothing_but_matrices_and_filters_decays_in_any_library(learners):
    for name, learn in learners.items():
        learn.create_opt()
        names = {p: n for n,p in learn.model.named_parameters()}
        decay = {names[p]: s.get('do_wd', True) for p,_,s,_ in learn.opt.all_params()}
        norms = norm_parameters(learn.model)
        for k, p in learn.model.named_parameters():
            lone = sum(o > 1 for o in p.shape) < 2
            place = any(o in k.rpartition('.')[2] for o in ('pos', 'token', 'table'))
            assert decay[k] == (not (lone or place or k in norms)), (name, k, tuple(p.shape))
        learn.freeze()
        asleep = {n for n,p in learn.model.named_parameters() if not p.requires_grad}
        # norms of every make are trained while the rest is frozen
        assert not asleep & norms, (name, sorted(asleep & norms)[:3])

def test_drop_path_is_the_recipes_in_every_library():
    from torchvision.ops import StochasticDepth
    from timm.layers import DropPath
    table = small_table()
    names = ('torchvision/efficientnet_b0', 'timm/efficientnet_b0',
             'torchvision/swin_t', 'timm/swin_tiny_patch4_window7_224')
    for name in names:
        learn = scratch_learner(table, name, drop_path=.2)
        drops = [m for m in learn.model.modules() if isinstance(m, (StochasticDepth, DropPath))]
        rates = [m.p if isinstance(m, StochasticDepth) else m.drop_prob for m in drops]
        assert rates == sorted(rates) and abs(rates[-1] - .2) < 1e-9, (name, rates)

PERMISSIVE = {'apache-2.0', 'mit', 'bsd-3-clause', 'cc-by-4.0'}
RESEARCH = {'cc-by-nc-4.0', 'apple-amlr', 'seer-license', 'fair-noncommercial-research-license'}

def test_licences_in_the_catalogue_are_those_that_timm_names():
    licences = {f'timm/{o}': timm.get_pretrained_cfg(o).license or '' for o in timm.list_pretrained()}
    listed = list_models('timm/*', pretrained=True)
    assert len(set(listed.name) & set(licences)) > 1700 # of the release that the table was made with
    for r in listed[listed.name.isin(licences)].itertuples():
        named = licences[r.name]
        wanted = 'permissive' if named in PERMISSIVE else 'non-commercial' if named in RESEARCH else \
            'unknown' if named in ('', 'unknown') else 'own terms'
        assert (r.licence, r.terms) == (named, wanted), r.name
    allowed = set(list_models('*', licence='commercial').name)
    assert not allowed & {o for o,l in licences.items() if l in RESEARCH | {'', 'unknown'}}

def test_the_suite_for_commerce_has_permissive_weights_only():
    assert {licence_group(model_info(o).licence) for o in SUITES['commercial']} == {'permissive'}

NEW = sorted({o for k in ('fashion2026', 'commercial') for o in SUITES[k] if not o.startswith('open_clip/')})

@pytest.mark.parametrize('name', NEW)
def test_models_of_the_new_suites_are_there_and_run(name):
    info = model_info(name)
    assert info.pretrained and info.name == name
    with torch.device('meta'), torch.no_grad(): # of which nothing is computed
        bb = build_backbone(name, 'scratch', info.size).eval()
        assert bb(torch.zeros(2, 3, info.size, info.size)).shape[1] == bb.nf

def test_rotated_positions_stay_though_they_are_not_called_as_a_layer():
    bb = build_backbone('timm/vit_pe_core_tiny_patch16_384', 'scratch', 64)
    assert bb(torch.zeros(1, 3, 64, 64)).shape == (1, bb.nf)

def test_what_is_unusual_about_some_models_is_read_from_timm():
    plain = (0., 0., 0.), (1., 1., 1.)
    for name in ('timm/fastvit_mci0.apple_mclip2_dfndr2b', 'timm/vit_base_patch14_reg1_tipsv2.webli'):
        assert (model_info(name).mean, model_info(name).std) == plain
    assert model_info('timm/vit_pe_core_tiny_patch16_384.fb').size == 384
    assert model_info('timm/vit_small_patch14_dinov2.lvd142m').size == 518
