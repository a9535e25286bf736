/* Models in PyTorch: written by tests/golden/make_zoo.py.
 * PyTorch 1.13.0a0
 * resnet18 (ImageNet): 11689512 parameters
 * vgg16 (ImageNet): 138357544 parameters
 * unet: 31037633 parameters
 * name, parameters, loss, loss after one step */
/* clang-format off */
static const zoo_golden golden[] = {
    {"mlp", 389, 2.42295149, 2.41188162},
    {"cnn", 53002, 1.54388016, 1.36537368},
    {"surrogate", 9091, 2.23258564, 1.95564931},
    {"resnet18", 11173962, 2.43388417, 1.01792396},
    {"resnet50", 23520842, 3.62286736, 2.18796542},
    {"vgg11", 9627850, 1.87026254, 0.954723805},
    {"vgg16", 15116554, 2.46330937, 3.07796155},
    {"resmlp", 371, 2.55739684, 2.30222803},
    {"autoencoder", 339, 15.8011235, 13.9926677},
    {"conv_autoencoder", 485, 0.580139657, 0.57972545},
    {"cosmo", 18144, 4.50768357, 2.46125451},
    {"cosmoflow", 15474, 0.929905735, 0.738583644},
    {"unet", 7559, 1.44505396, 1.44346946},
    {"unet3d", 5394, 0.510507135, 0.510485653},
};
/* clang-format on */
