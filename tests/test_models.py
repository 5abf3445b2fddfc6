"What goes wrong with models, a test of each kind: old names, odd networks, sizes that do not fit, weights out of reach, counts that change."
import os, subprocess, sys, time

import pytest, timm, torch
from torch import nn
from fashion_bench.all import *

@pytest.mark.parametrize('old,new', [('timm/xception', 'legacy_xception.tf_in1k'), ('timm/tv_densenet121', 'densenet121.tv_in1k'), ('timm/vit_base_patch16_224_in21k', 'vit_base_patch16_224.augreg_in21k')])
def test_old_names_are_resolved_to_architecture_and_tag(old, new):
    assert model_info(old).name.startswith(f'timm/{new}')

@pytest.mark.parametrize('name,near', [('timm/gluon_xception65', 'xception65'), ('timm/efficientnet_b0.nope', 'ra_in1k'), ('timm/effcientnet_b0', 'did you mean timm/efficientnet_b0'), ('torchvision/resnet34.NOPE', 'IMAGENET1K_V1'), ('keras/vgg16', 'unknown model')])
def test_unknown_names_get_near_matches(name, near):
    with pytest.raises(ValueError, match=near): model_info(name)

ODD = [('torchvision/vit_b_32', 224), ('torchvision/mnasnet0_5', 64), ('torchvision/inception_v3', 96), ('torchvision/googlenet', 64), ('torchvision/maxvit_t', 224), ('torchvision/mobilenet_v2', 64), ('torchvision/swin_t', 64),
       ('timm/swin_tiny_patch4_window7_224', 96), ('timm/vit_tiny_patch16_224', 64), ('timm/xcit_nano_12_p8_224', 64), ('timm/convnext_atto', 64), ('timm/resnet50_clip.openai', 64), ('timm/mixer_s32_224', 224), ('fastai/xse_resnet18', 64)]

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
    with pytest.raises(ValueError, match=f'cannot take images of size {size}.*its own size is'): build_backbone(name, 'scratch', size)

@pytest.mark.parametrize('name', ['torchvision/resnet34', 'torchvision/densenet121', 'torchvision/vgg11', 'torchvision/alexnet', 'torchvision/squeezenet1_0', 'fastai/xresnet34', 'fastai/xresnext34', 'timm/resnet18'])
def test_fastai_groups_are_those_of_vision_learner(name):
    from fastai.vision.all import DataLoaders, vision_learner
    from fastai.vision import models
    library, arch = name.split('/')
    plain = vision_learner(DataLoaders([], []), arch if library == 'timm' else getattr(models.xresnet if library == 'fastai' else models, arch), pretrained=False, normalize=False, n_out=5, loss_func=nn.CrossEntropyLoss())
    bb = build_backbone(name, 'scratch', 64)
    ours = fastai_groups(nn.Sequential(bb, fastai_head(bb.nf, 5, bb.spatial)))
    assert [sum(p.numel() for p in g) for g in ours] == [sum(p.numel() for p in g) for g in plain.splitter(plain.model)]

def test_counts_do_not_depend_on_freezing():
    table = load_table('wardrobe', subset='top=2,per_class=20')
    learn = fashion_learner(fashion_dls(table, **model_inputs('torchvision/resnet18', 64), bs=4, num_workers=0), 'torchvision/resnet18', 'scratch')
    total = learner_summary(learn).parameters.sum()
    learn.freeze()
    frozen = learner_summary(learn)
    assert frozen.parameters.sum() == total and frozen.trainable.sum() < total

@pytest.mark.parametrize('name', ['timm/vit_base_patch16_clip_224.openai', 'torchvision/resnet18', 'fastai/xresnet50'])
def test_weights_out_of_reach_are_refused_within_seconds(name, tmp_path, monkeypatch):
    for k in ('HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'): monkeypatch.setenv(k, 'http://127.0.0.1:9')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('fashion_bench.backbones._cached', lambda info: None)
    start = time.perf_counter()
    with pytest.raises(WeightsUnavailable, match='cannot be reached.*once so that they are cached'): build_backbone(name)
    assert time.perf_counter() - start < 5

def test_a_file_fills_a_network_whatever_wraps_its_names(tmp_path):
    from safetensors.torch import save_file
    net = timm.create_model('resnet18', num_classes=3)
    for prefix in ('', 'module.', 'backbone.', 'visual.trunk.'):
        save_file({prefix + k: v for k,v in net.state_dict().items()}, tmp_path/'w.safetensors')
        assert torch.equal(build_backbone('timm/resnet18', tmp_path/'w.safetensors', 64).body.conv1.weight, net.conv1.weight), prefix
    headless = {k: v for k,v in net.state_dict().items() if not k.startswith('fc.')}
    torch.save(dict(state_dict=headless), tmp_path/'w.pth')
    assert build_backbone('timm/resnet18', tmp_path/'w.pth', 64).source['weights'] == 'file'
    del headless['layer1.0.conv1.weight']
    torch.save(headless, tmp_path/'w.pth')
    with pytest.raises(ValueError, match='1 of .* tensors are missing.*layer1.0.conv1.weight'): build_backbone('timm/resnet18', tmp_path/'w.pth', 64)

def test_a_pickle_that_runs_code_is_not_opened(tmp_path):
    class Evil:
        def __reduce__(self): return (os.system, (f'touch {tmp_path}/pwned',))
    torch.save(dict(state_dict=Evil()), tmp_path/'w.pth')
    with pytest.raises(ValueError, match='cannot be read as a state dict'): build_backbone('timm/resnet18', tmp_path/'w.pth', 64)
    assert not (tmp_path/'pwned').exists()

def test_the_catalogue_answers_without_torch_or_network():
    code = "import sys; from fashion_bench.cli import app; app(['models', 'timm/tf_efficientnet_lite*', '--max-params', '5M', '--json'], standalone_mode=False); print(sorted({'torch', 'timm', 'fastai'} & set(sys.modules)))"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'tf_efficientnet_lite1' in r.stdout and 'lite4' not in r.stdout and r.stdout.strip().endswith('[]'), r.stdout + r.stderr

def test_what_the_catalogue_lists_is_what_the_libraries_have():
    listed = {o.split('.')[0] for o in model_facts().name}
    if timm.__version__ == '1.0.31': assert {f'timm/{o}' for o in timm.list_models()} <= listed
    assert {f'torchvision/{o}' for o in NAMES['torchvision']()} <= listed and {f'fastai/{o}' for o in NAMES['fastai']()} <= listed
