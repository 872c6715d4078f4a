"""Operations that change their input: whoever reads the input afterwards reads their result."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

__all__ = ["follow_changes", "latest"]


def latest(node: fx.Node, root: nn.Module) -> fx.Node:
    """Return the node whose value a node's tensor holds by now.

    Parameters
    ----------
    node : torch.fx.Node
        Of a graph that may still be growing.
    root : torch.nn.Module
        The module that is traced.
    """
    while True:
        changes = [user for user in node.users if _changed_by(user, root) is node]
        if not changes:
            return node
        node = changes[-1]


def follow_changes(graph: fx.Graph, root: nn.Module) -> None:
    """Hand the result of an in-place operation to all that read its input afterwards.

    The graph then says what depends on what, and can be cut anywhere: a value that was taken
    before it changed is never read by mistake for the changed one.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        source = _changed_by(node, root)
        if source is not None:
            for user in list(source.users):
                if order[user] > order[node]:
                    user.replace_input_with(source, node)


def _changed_by(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return the input that an operation changes, if it does."""
    first: Any = node.args[0] if node.args else node.kwargs.get("input")
    return first if isinstance(first, fx.Node) and _is_in_place(node, root) else None


def _is_in_place(node: fx.Node, root: nn.Module) -> bool:
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        return bool(getattr(module, "inplace", False)) and type(module).__module__.startswith(
            "torch.nn"
        )
    if node.op == "call_function":
        name = str(getattr(node.target, "__name__", ""))
        return node.kwargs.get("inplace") is True or (name.endswith("_") and name[:1] != "_")
    if node.op == "call_method":
        # PyTorch's convention: `relu_` works in place, `__getitem__` does not.
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return False
