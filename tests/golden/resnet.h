/* Made by make_resnet.py with PyTorch 1.13: loss, norm of all gradients, of conv1.weight's. */
static const resnet_golden resnet18_golden = {1.88545262, 72.5384836, 8.74754912};
static const resnet_golden resnet34_golden = {3.55398154, 216.953231, 25.6589837};
static const resnet_golden resnet50_golden = {3.28075247, 1344.1047, 739.43348};
