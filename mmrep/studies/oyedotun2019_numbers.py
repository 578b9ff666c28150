"""What Oyedotun et al. 2019 print: test accuracies in percent, means over folds."""

BACKBONES = {"resnet": "ResNet50", "vgg": "VGG19"}  # the paper's names, by ours
KINDS = {  # titles of rows
    "depth": "DepthMap-{}",
    "depth_scratch": "DepthMap-scratch",
    "rgb": "RGB-{}",
    "naive": "NF: {} + scratch",
    "gated": "Gate: {} + scratch",
}
ROWS = {  # kind and backbone of Tables 1, 3 and 4, in their order, by the choice of conf/model
    "rgbd_depth": ("depth", "resnet"),
    "rgbd_depth_vgg": ("depth", "vgg"),
    "rgbd_depth_scratch": ("depth_scratch", ""),
    "rgbd_rgb": ("rgb", "resnet"),
    "rgbd_rgb_vgg": ("rgb", "vgg"),
    "rgbd_naive": ("naive", "resnet"),
    "rgbd_naive_vgg": ("naive", "vgg"),
    "rgbd_gated": ("gated", "resnet"),
    "rgbd_gated_vgg": ("gated", "vgg"),
}

_PRINTED = {  # by set and number of folds
    ("bu3dfe", 10): (61.11, 28.06, 84.72, 82.92, 81.25, 87.08, 89.31, 89.86, 90.69),  # Table 1
    ("washington", 10): (2.39, 2.38, 77.07, 50.08, 98.25, 76.65, 90.56, 99.32, 99.54),  # Table 3
    ("washington", 5): (1.67, 2.38, 73.87, 29.76, 96.73, 61.23, 83.16, 98.93, 99.51),  # Table 4
}
TABLES = {key: dict(zip(ROWS, values, strict=True)) for key, values in _PRINTED.items()}

LITERATURE = {  # Table 2, BU-3DFE; the rows of naive fusion are there ascribed to earlier work
    "3D geometric shape + LDA": 83.60,
    "Bayesian belief net + statistical features": 82.30,
    "distance + slopes + SVM": 87.10,
    "2D + 3D feature fusion + SVM": 86.32,
    "geometric scattering + SVM": 84.80,
    "geometric + photometric + VGG19": 84.87,
    "NF: ResNet50 + scratch": 87.08,
    "NF: VGG19 + scratch": 89.31,
    "Gate: ResNet50 + scratch": 89.86,
    "Gate: VGG19 + scratch": 90.69,
}


def model_of(kind: str, backbone: str) -> str:
    """The row of a kind; of the network from scratch there is one for both backbones."""
    rows = {row: model for model, row in ROWS.items()}
    return rows.get((kind, backbone)) or rows[kind, ""]


def published(data: str, folds: int) -> dict[str, float]:
    """Accuracies of a table by row; {} where the paper has none of such data and folds."""
    return TABLES.get((data, folds), {})
