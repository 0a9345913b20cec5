"""What the commands and the predictor ask of a detector's config, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode
from torch import nn

from ..data.categories import require_fitting_names
from ..data.dataset_names import dataset_names
from ..data.inputs import InputMaker
from ..explain import Explainer, MethodComparison, build_explainer, comparison_from_config, explainer_options
from ..meta_arch.padded import with_padding
from ..model_zoo.addresses import weights_checksum
from ..modeling.class_names import known_class_names, name_keypoints
from ..modeling.num_classes import count_classes
from ..postprocess import require_heeded
from ..utils.checkpoint import load_checkpoint_strictly
from ..utils.downloads import fetch_weights
from ..utils.untyped import UntypedModule

if TYPE_CHECKING:  # what measures and trains is imported where somebody does so
    from detectron2.evaluation import DatasetEvaluator


class DetectorConfig(ABC):
    """A config of a detector that has been read.

    Attributes:
        node: the config itself, a yaml's ``CfgNode`` or a LazyConfig's ``DictConfig``.
        odam: the options of this project, in the form of ``cfg.ODAM``; what is written there holds.
        given_class_names: names of the classes that the user gave; None for those of the config's data sets.
        weights_key: the config's key that names weights.
        datasets_key: where it names data sets.
    """

    node: Any
    odam: CfgNode
    given_class_names: tuple[str, ...] | None = None
    weights_key: str
    datasets_key: str

    @property
    @abstractmethod
    def weights(self) -> str:
        """Path or address of the weights; empty for none."""

    @property
    @abstractmethod
    def device(self) -> str:
        """Where the detector is built."""

    @device.setter
    @abstractmethod
    def device(self, device: str) -> None:
        """Where the detector will be built."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """Name of the detector's class."""

    @property
    @abstractmethod
    def output_folder(self) -> str:
        """Where training writes."""

    @property
    @abstractmethod
    def num_workers(self) -> int:
        """Processes that read images for a GPU."""

    @property
    @abstractmethod
    def most_detections(self) -> int | None:
        """The most detections of an image; None where nothing limits them."""

    @abstractmethod
    def limit(self, score_threshold: float | None, max_detections: int | None) -> None:
        """Lets the detector find nothing below a score, and no more than so much in an image.

        Args:
            score_threshold: lowest score of a detection, in [0, 1]; None for the config's.
            max_detections: most detections of an image, where the config's limit isn't lower; None for the config's.
        """

    @abstractmethod
    def make_input(self) -> InputMaker:
        """What makes the detector's input of an image, as for testing.

        Raises:
            ValueError: if the config resizes or formats images in a way that isn't supported.
        """

    @abstractmethod
    def text(self) -> str:
        """All that results depend on besides weights, to be compared with that of another run."""

    @abstractmethod
    def evaluator(self, dataset: str, folder: str) -> DatasetEvaluator:
        """What measures detections on a data set.

        Args:
            dataset: a name in Detectron2's catalogs.
            folder: for its results.

        Raises:
            ValueError: if there is none.
        """

    @abstractmethod
    def train_samples(self) -> tuple[Iterator[dict], str]:
        """What the detector sees in training, without end, and its format; images are read in this process."""

    @abstractmethod
    def _build(self) -> nn.Module:
        """The detector with random weights, on its device."""

    def build(self) -> UntypedModule:
        """The detector, in eval mode, with random weights; where its mapper pads images, it tells results without.

        Raises:
            ValueError: if it can't be built, or has no use for ``ODAM.NMS`` where that is enabled.
        """
        try:
            model = self._build().eval()
        # A config can be wrong in many ways, and each part of a detector raises its own kind of error.
        except Exception as error:
            raise ValueError(f"the config must describe a detector; building it failed: {error}") from error
        require_heeded(self.odam, model)
        name_keypoints(model, self.node)
        return with_padding(model, self.make_input().padding)

    def load_weights(self, model: nn.Module) -> None:
        """Loads the weights that the config names; all must fit.

        Raises:
            ValueError: if they don't, or none are named.
            FileNotFoundError: if they can't be found.
        """
        self.require_weights()
        fetch_weights(self.weights, self.weights_key)
        load_checkpoint_strictly(model, self.weights)

    def weights_fingerprint(self, model: nn.Module) -> str:
        """What tells the detector's weights from others, wherever they lie.

        Args:
            model: the detector with its weights.
        """
        del model
        return weights_checksum(self.weights)

    def require_weights(self) -> None:
        """Raises ValueError where no weights are named."""
        if not self.weights:
            raise ValueError(
                f"{self.weights_key} must name a checkpoint; the config names none: add {self.weights_option()} at the "
                "end"
            )

    def weights_option(self) -> str:
        """How weights are named at the end of a command line."""
        return f"{self.weights_key} PATH"

    def explainer_options(self, **given: Any) -> dict[str, Any]:
        """Arguments of ``build_explainer``, see :func:`odam_d2.explain.explainer_options`."""
        return explainer_options(CfgNode({"ODAM": self.odam}), **given)

    def explainer(self, model: nn.Module, **given: Any) -> Explainer:
        """What explains the detector, see :func:`odam_d2.explain.explainer_from_config`."""
        return build_explainer(model, **self.explainer_options(**given))

    def comparison(
        self,
        model: nn.Module,
        methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
        attributes: Sequence[str] | None = None,
    ) -> MethodComparison:
        """What explains by several methods, see :func:`odam_d2.explain.comparison_from_config`."""
        return comparison_from_config(model, CfgNode({"ODAM": self.odam}), methods, attributes)

    def datasets(self, split: str) -> tuple[str, ...]:
        """Names of the data sets for ``test`` or ``train``, see :func:`odam_d2.data.dataset_names.dataset_names`."""
        return dataset_names(self.node, split)

    def class_names(self, model: nn.Module) -> tuple[str, ...] | None:
        """The detector's classes by number, see :func:`odam_d2.modeling.class_names.known_class_names`.

        Raises:
            ValueError: if the names that were given, or those of the data sets, are of another number.
        """
        if self.given_class_names is None:
            return known_class_names(self.node, model)
        number = count_classes(model)
        if number is not None:
            require_given_names(self.given_class_names, number)
        return self.given_class_names


def require_given_names(names: Sequence[str], number: int) -> None:
    """Raises ValueError where names that a user gave aren't one for each class."""
    try:
        require_fitting_names(names, number)
    except ValueError:
        raise ValueError(
            f"`class_names` must name each of the detector's {number} classes; got {len(names)}, {list(names)}: give "
            "one a class, in the order of the detector's numbers"
        ) from None
