"""Put our kernels into a transformers model, if its logits stay what they were.

transformers is never imported here: a module is known by its class name, and everything that it needs it holds itself.
"""

from longboard_kernels.accelerate.model import Acceleration, accelerate

__all__ = ["Acceleration", "accelerate"]
