"""The names that calls find a model by: `<name>` takes tensors, `<name>_image` encoded pictures.

The second is there by itself where the configuration tells a preprocessing rule. It has one
input, `image`, of BYTES [-1, 1]: a JPEG, PNG or WebP a row; as [-1] it is taken too. What they
show becomes the pixels that the model takes, and joins batches with requests that bring theirs. A
model of the repository that bears such a name is served under it as it is.
"""

from typing import Any
from weakref import WeakKeyDictionary

from eyespot.server.dataplane import Dataplane
from eyespot.server.decoding import DecodedInputs, Signature
from eyespot.server.errors import ModelNotFoundError
from eyespot.server.model import Model
from eyespot.server.model_config import ModelConfig, TensorConfig
from eyespot.server.picture_decoding import PictureDecoder
from eyespot.server.shared_memory import SharedMemory
from eyespot.v1 import model_config_pb2
from eyespot.v1.picture_files import ENCODED_FORMATS
from eyespot.v1.preprocessing import (
    IMAGE_ENDPOINT,
    IMAGE_FORMATS,
    PreprocessingError,
    PreprocessingRule,
)

SUFFIX = "_image"
INPUT = "image"
_PREPROCESSING = "preprocessing."


class Entrance:
    """What requests under one name of a model bring, and how it becomes the model's inputs."""

    def __init__(self, config: ModelConfig, shared_memory: SharedMemory) -> None:
        self.config = config
        self.signature = Signature(config, shared_memory)

    async def read(self, request: Any) -> DecodedInputs:
        """Reads the inputs of a ModelInferRequest or ExplainRequest.

        Raises:
            InvalidArgumentError: they do not fit the model.
        """
        return self.signature.read_inputs(request)


class PictureEntrance(Entrance):
    """Takes a picture a row."""

    def __init__(self, pixels: Entrance, rule: PreprocessingRule, decoder: PictureDecoder) -> None:
        super().__init__(_picture_config(pixels.config), pixels.signature.shared_memory)
        self._pixels = pixels
        self._rule = rule
        self._decoder = decoder

    async def read(self, request: Any) -> DecodedInputs:
        """Reads the pictures, and turns them into the pixels that the model takes."""
        for tensor in request.inputs:
            if tensor.name == INPUT and len(tensor.shape) == 1:
                tensor.shape.append(1)  # [B] -> [B, 1], for a row is one picture
        decoded = self.signature.read_inputs(request)
        pictures = decoded.arrays[INPUT].ravel().tolist()  # (B, 1) -> B
        what = f"input '{INPUT}' for model '{self.config.name}'"
        pixels = await self._decoder.decode(pictures, self._rule, what=what)
        (spec,) = self._pixels.config.inputs
        return self._pixels.signature.replace_inputs(decoded, {spec.name: pixels})


class Entrances:
    """Finds the model of a call by any of its names, shared by the services.

    Args:
        dataplane: the models.
        shared_memory: that requests may refer to.
        decoder: of pictures; without one there are no entrances for them.
    """

    def __init__(
        self, dataplane: Dataplane, shared_memory: SharedMemory, decoder: PictureDecoder | None
    ) -> None:
        self.shared_memory = shared_memory
        self._dataplane = dataplane
        self._decoder = decoder
        # Weak: what is remembered of a model does not keep it in memory.
        self._by_model: WeakKeyDictionary[Model, Entrance] = WeakKeyDictionary()
        self._for_pictures: WeakKeyDictionary[Model, PictureEntrance] = WeakKeyDictionary()

    def find(self, name: str, version: str = "") -> tuple[Model, Entrance]:
        """The ready model of a name, and what it takes under it; see `Dataplane.model`.

        Raises:
            RequestError: there is none.
        """
        if not self._means_pictures(name):
            model = self._dataplane.model(name, version)
            return model, self._entrance_of(model)
        model = self._dataplane.model(name.removesuffix(SUFFIX), version)
        try:
            return model, self._picture_entrance_of(model)
        except PreprocessingError as error:
            raise ModelNotFoundError(
                f"Request for unknown model: '{name}' is not found; model '{model.name}' takes no "
                f"encoded pictures: {error}"
            ) from None

    def find_all(self, name: str = "", version: str = "") -> list[tuple[str, Model]]:
        """The ready models by name and version, with the name that each was found by."""
        if name and self._means_pictures(name):
            self.find(name, version)
            models = self._dataplane.models(name.removesuffix(SUFFIX), version)
            return [(name, model) for model in models]
        return [(model.name, model) for model in self._dataplane.models(name, version)]

    def is_ready(self, name: str, version: str = "") -> bool:
        """Whether calls by this name would be admitted; false for an unknown one."""
        if not self._means_pictures(name):
            return self._dataplane.is_model_ready(name, version)
        model_name = name.removesuffix(SUFFIX)
        if not self._dataplane.is_model_ready(model_name, version):
            return False
        return self.picture_name(self._dataplane.model(model_name, version)) == name

    def picture_name(self, model: Model) -> str:
        """The name under which a model takes encoded pictures; empty where it does not."""
        name = model.name + SUFFIX
        try:
            return (
                self._picture_entrance_of(model).config.name if self._means_pictures(name) else ""
            )
        except PreprocessingError:
            return ""

    def told_config(self, name: str, version: str = "") -> model_config_pb2.ModelConfig:
        """The configuration under a name, with the name that takes encoded pictures."""
        model, entrance = self.find(name, version)
        message = model_config_pb2.ModelConfig.FromString(entrance.config.serialized)
        picture_name = self.picture_name(model)
        if picture_name and message.name != picture_name:
            message.parameters[IMAGE_ENDPOINT].string_value = picture_name
            message.parameters[IMAGE_FORMATS].string_value = ",".join(ENCODED_FORMATS)
        return message

    def _means_pictures(self, name: str) -> bool:
        return (
            self._decoder is not None
            and name.endswith(SUFFIX)
            and not self._dataplane.versions(name)
            and bool(self._dataplane.versions(name.removesuffix(SUFFIX)))
        )

    def _entrance_of(self, model: Model) -> Entrance:
        entrance = self._by_model.get(model)
        if entrance is None:
            entrance = self._by_model[model] = Entrance(model.config, self.shared_memory)
        return entrance

    def _picture_entrance_of(self, model: Model) -> PictureEntrance:
        """What takes pictures for a model.

        Raises:
            PreprocessingError: the model does not take them, and why.
        """
        entrance = self._for_pictures.get(model)
        if entrance is None:
            assert self._decoder is not None
            rule = _picture_rule(model.config)
            entrance = PictureEntrance(self._entrance_of(model), rule, self._decoder)
            self._for_pictures[model] = entrance
        return entrance


def _picture_rule(config: ModelConfig) -> PreprocessingRule:
    """The rule by which a picture becomes a row of a model.

    Raises:
        PreprocessingError: there is none, or its pixels are not what the model takes.
    """
    rule = PreprocessingRule.from_parameters(config.parameters)
    if rule is None:
        raise PreprocessingError("its configuration tells no preprocessing rule")
    takes = [f"{spec.datatype} {list(spec.shape)}" for spec in config.inputs]
    expected = (-1, *(rule.size or (-1, -1)), rule.channels)  # (B, H, W, C)
    (spec, *others) = config.inputs
    fits = len(spec.shape) == len(expected) and all(
        -1 in (given, found) or given == found
        for given, found in zip(expected, spec.shape, strict=True)
    )
    if others or not config.max_batch_size or spec.datatype != "UINT8" or not fits:
        raise PreprocessingError(
            f"it takes {' and '.join(takes)}, its rule gives batches of UINT8 {list(expected)}"
        )
    return rule


def _picture_config(config: ModelConfig) -> ModelConfig:
    message = model_config_pb2.ModelConfig.FromString(config.serialized)
    message.name = config.name + SUFFIX
    del message.input[:]
    message.input.add(name=INPUT, data_type=model_config_pb2.TYPE_STRING, dims=[1])
    for name in [name for name in message.parameters if name.startswith(_PREPROCESSING)]:
        del message.parameters[name]  # done here: nobody shall do it again
    return config._replace(
        name=message.name,
        inputs=(TensorConfig(INPUT, "BYTES", (-1, 1), is_text=False),),
        serialized=message.SerializeToString(),
    )
