"""The TFDS builder of CamVid, imported only where files are read or written: TFDS is slow."""

from collections.abc import Iterator

import tensorflow_datasets as tfds

from sassn_jax.data.camvid_layout import Layout, read_layout


class CamvidBuilder(tfds.core.GeneratorBasedBuilder):
    """Street scenes with masks (Brostow et al. 2009), from a folder of images, masks and lists.

    Examples hold encoded files, not arrays: TFDS needs TensorFlow to encode, and nothing to copy.
    """

    name = "camvid"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The folder that `sassn_jax.data.camvid_layout` describes."
    # Nothing is downloaded; to look for checksums, TFDS needs a package that it does not declare.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.Image(shape=(None, None, 1)),
                }
            ),
            metadata=tfds.core.MetadataDict(),
            # Keeps the order of the lists, so that an image can be found in a split by its line.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        layout = read_layout(dl_manager.manual_dir)
        self.info.metadata["class_names"] = list(layout.class_names)
        return {split: self._generate_examples(layout, split) for split in layout.splits}

    def _generate_examples(self, layout: Layout, split: str) -> Iterator:
        for number, id_ in enumerate(layout.splits[split]):
            yield (
                number,
                {"id": id_, "image": layout.image(id_), "label": layout.label(id_)},
            )
