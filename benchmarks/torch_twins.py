"""The same layers in plain PyTorch, with random weights: what `models.py` is timed beside.

Built from the sizes in our configurations; nothing of the authors' code is needed.  Eager mode, as the release runs.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from metis_jax.config import (
    AcousticCodecConfig,
    AcousticGeneratorConfig,
    SemanticCodecConfig,
    SemanticGeneratorConfig,
    SslEncoderConfig,
    TransformerConfig,
)


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Linear(width, width)

    def forward(self, x, time):
        x = x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)
        return x * self.scale(time)[:, None]


class Block(nn.Module):
    def __init__(self, config: TransformerConfig):
        super().__init__()
        d, f = config.width, config.mlp_width
        self.heads = config.num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(d, f, bias=False) for _ in range(2))
        self.down = nn.Linear(f, d, bias=False)
        self.norms = nn.ModuleList([Norm(d), Norm(d)])

    def forward(self, x, time, cos, sin):
        b, t, d = x.shape

        def heads(layer, y, rotated):
            y = layer(y).view(b, t, self.heads, -1).transpose(1, 2)
            if not rotated:
                return y
            first, second = y.chunk(2, -1)
            return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

        y = self.norms[0](x, time)
        y = F.scaled_dot_product_attention(heads(self.q, y, True), heads(self.k, y, True), heads(self.v, y, False))
        x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
        y = self.norms[1](x, time)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Generator(nn.Module):
    def __init__(self, config: TransformerConfig, tables: int, codebook: int):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(codebook, config.width) for _ in range(tables))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm, self.logits = Norm(config.width), nn.Linear(config.width, codebook)
        self.head_width = config.head_width

    def forward(self, tokens):
        x = sum(table(tokens) for table in self.tables)
        frequencies = 10000.0 ** -(torch.arange(0, self.head_width, 2, device=x.device) / self.head_width)
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * frequencies
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        time = torch.ones(x.shape[0], x.shape[2], device=x.device, dtype=x.dtype)
        for block in self.blocks:
            x = block(x, time, cos, sin)
        return self.logits(self.norm(x, time))


class ConvNext(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        y = self.norm(self.depthwise(x).transpose(1, 2))
        return x + self.down(F.gelu(self.up(y))).transpose(1, 2)


def tower(inputs: int, width: int, hidden: int, layers: int, outputs: int) -> nn.Module:
    blocks = [ConvNext(width, hidden) for _ in range(layers)]
    return nn.Sequential(nn.Conv1d(inputs, width, 7, padding=3), *blocks, nn.Conv1d(width, outputs, 1))


class Snake(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x):
        return x + (self.alpha + 1e-9).reciprocal() * (self.alpha * x).sin().pow(2)


class Residual(nn.Module):
    def __init__(self, width: int, dilation: int):
        super().__init__()
        conv = nn.Conv1d(width, width, 7, padding=3 * dilation, dilation=dilation)
        self.block = nn.Sequential(Snake(width), conv, Snake(width), nn.Conv1d(width, width, 1))

    def forward(self, x):
        return x + self.block(x)


def wave_encoder(config: AcousticCodecConfig) -> nn.Module:
    width = config.encoder_width
    layers: list[nn.Module] = [nn.Conv1d(1, width, 7, padding=3)]
    for stride in config.strides:
        layers += [Residual(width, dilation) for dilation in (1, 3, 9)] + [Snake(width)]
        layers += [nn.Conv1d(width, 2 * width, 2 * stride, stride, math.ceil(stride / 2))]
        width *= 2
    return nn.Sequential(*layers, Snake(width), nn.Conv1d(width, config.latent_width, 3, padding=1))


class WaveDecoder(nn.Module):
    def __init__(self, config: AcousticCodecConfig):
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop
        self.tower = tower(
            config.latent_width,
            config.decoder_width,
            config.decoder_mlp_width,
            config.decoder_layers,
            config.n_fft + 2,
        )

    def forward(self, x):
        magnitude, phase = self.tower(x).chunk(2, 1)
        spectrum = torch.polar(magnitude.exp().clamp(max=100.0), phase)
        window = torch.hann_window(self.n_fft, device=x.device)
        return torch.istft(spectrum, self.n_fft, self.hop, window=window)


def ssl_encoder(config: SslEncoderConfig) -> nn.Module:
    from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

    return Wav2Vec2BertModel(
        Wav2Vec2BertConfig(
            hidden_size=config.width,
            num_hidden_layers=config.hidden_layer,
            num_attention_heads=config.num_heads,
            intermediate_size=config.mlp_width,
        )
    )


def twin(config: object, seconds: float, device: str) -> Callable[[], object]:
    """A call that runs the torch model of `config` once, on `seconds` of one input."""
    frames = round(50 * seconds)
    match config:
        case SslEncoderConfig():
            model, inputs = ssl_encoder(config), torch.randn(1, frames, config.input_width)
        case SemanticCodecConfig():
            c = config
            model = nn.Sequential(
                tower(c.feature_width, c.width, c.mlp_width, c.num_layers, c.feature_width),
                tower(c.feature_width, c.width, c.mlp_width, c.num_layers, c.feature_width),
            )
            inputs = torch.randn(1, c.feature_width, frames)
        case AcousticCodecConfig():
            model = nn.Sequential(wave_encoder(config), WaveDecoder(config))
            inputs = torch.randn(1, 1, frames * config.hop)
        case SemanticGeneratorConfig():
            model = Generator(config.transformer, 1, config.codebook_size)
            inputs = torch.zeros(1, frames, dtype=torch.long)
        case AcousticGeneratorConfig():
            model = Generator(config.transformer, config.num_levels, config.codebook_size)
            inputs = torch.zeros(1, frames, dtype=torch.long)
        case _:
            raise ValueError(f"no torch twin of {type(config).__name__}")
    model, inputs = model.to(device).eval(), inputs.to(device)

    def run():
        with torch.inference_mode():
            output = model(inputs)
            if device != "cpu":
                torch.cuda.synchronize()
            return output

    return run
