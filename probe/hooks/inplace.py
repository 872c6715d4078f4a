"""Operations that change their input: whoever reads the input afterwards reads what is left."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

__all__ = ["changed_since", "follow_changes", "left_behind"]


def left_behind(value: Any, change: Any) -> Any:
    """Give a value as an in-place operation has left it; in a graph, it comes after that one."""
    return value


def changed_since(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return the last operation so far that has changed a node's value in place, if any did.

    Parameters
    ----------
    node : torch.fx.Node
        Of a graph that may still be growing.
    root : torch.nn.Module
        The module that is traced.
    """
    changes = [user for user in node.users if _source(user, root) is node]
    return changes[-1] if changes else None


def follow_changes(graph: fx.Graph, root: nn.Module) -> None:
    """Give a name of its own to what an in-place operation leaves behind in its input.

    All that read the input after the operation read `left_behind` instead. Where the graph is
    cut, a value from before the change is then never mistaken for the one from after it, and
    do() on the operation's result leaves its input as a hook on the module would.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        source = _source(node, root)
        if source is None:
            continue
        later = [user for user in source.users if order[user] > order[node]]
        if later:
            with graph.inserting_after(node):
                left = graph.call_function(left_behind, (source, node))
            order[left] = order[node]
            for user in later:
                user.replace_input_with(source, left)


def _source(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return the input that an operation changes, if it does."""
    first: Any = node.args[0] if node.args else node.kwargs.get("input")
    return first if isinstance(first, fx.Node) and _is_in_place(node, root) else None


def _is_in_place(node: fx.Node, root: nn.Module) -> bool:
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        ours = type(module).__module__.startswith("torch.nn")
        return ours and bool(getattr(module, "inplace", False))
    if node.op == "call_function":
        name = str(getattr(node.target, "__name__", ""))
        return node.kwargs.get("inplace") is True or (name.endswith("_") and name[:1] != "_")
    if node.op == "call_method":
        # PyTorch's convention: `relu_` works in place, `__getitem__` does not.
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return False
