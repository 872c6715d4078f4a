"""torch.fx as the instrument: trace once, with the smallest leaves, and name every value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from probe.detectors.detector import Detector
from probe.errors import TraceError, UnknownNameError

__all__ = [
    "TraceReport",
    "TracedDetector",
    "changed_since",
    "extract",
    "follow_changes",
    "left_behind",
    "trace",
]


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


@dataclass(frozen=True)
class TraceReport:
    """What was traced, and what could not be.

    Attributes
    ----------
    nodes : int
        Operations in the graph.
    leaves : mapping
        Module path to the reason why it could not be traced and became a leaf.
    """

    nodes: int
    leaves: Mapping[str, str]

    def __str__(self) -> str:
        if not self.leaves:
            return f"{self.nodes} operations, all traced."
        lines = [f"{self.nodes} operations; {len(self.leaves)} modules stayed leaves:"]
        return "\n".join(lines + [f"  {path}: {why}" for path, why in self.leaves.items()])


@dataclass(frozen=True)
class TracedDetector:
    """A detector with its graph; the detector's own module is left as it was.

    Attributes
    ----------
    detector : Detector
        What was traced.
    graph : torch.fx.Graph
        From one placeholder, the images, to the fake logits.
    layers : mapping
        Name of every value that can be tapped to its node: module paths in order of execution;
        ``relu@2`` is the second call of a module that is called several times.
    report : TraceReport
        What stayed a leaf, and why.
    constants : mapping
        Tensors that forward made while it was traced, by the names the graph has for them.
    """

    detector: Detector
    graph: fx.Graph
    layers: Mapping[str, fx.Node]
    report: TraceReport
    constants: Mapping[str, Any] = field(default_factory=dict)

    def resolve(self, layer: str) -> str:
        """Return the full name of a layer; a wrapper's ``body.`` may be left out.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        for name in (layer, f"body.{layer}"):
            if name in self.layers:
                return name
        known = [name.removeprefix("body.") for name in self.layers]
        raise UnknownNameError(
            "layer",
            layer,
            known,
            where=self.detector.spec.name,
            remedy=f"List them with `probe layers {self.detector.spec.name}`.",
        )

    def node(self, layer: str) -> fx.Node:
        """Return the node of a layer; see `resolve`."""
        return self.layers[self.resolve(layer)]


class _Tracer(fx.Tracer):
    """Traces through everything but given leaves, and notes which node each module gave."""

    def __init__(self, leaves: Mapping[str, str]) -> None:
        super().__init__()
        self.leaves = leaves
        self.stack: list[str] = []
        self.failed: str | None = None
        self.outputs: dict[str, fx.Node] = {}
        self._calls: dict[str, int] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Keep PyTorch's own modules and the given ones whole."""
        return module_qualified_name in self.leaves or super().is_leaf_module(
            m, module_qualified_name
        )

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace a module's call; remember where tracing failed first."""
        path = self.path_of_module(m)
        self.stack.append(path)
        try:
            out = super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or path
            raise
        self.stack.pop()
        if isinstance(out, fx.Proxy):
            out = self._as_it_is(out)
            call = self._calls[path] = self._calls.get(path, 0) + 1
            name = path if call == 1 else f"{path}@{call}"
            self.outputs[name] = out.node
        return out

    def _as_it_is(self, out: fx.Proxy) -> fx.Proxy:
        """Name what a module returns after it has changed it in place."""
        change = changed_since(out.node, self.root)
        if change is None:
            return out
        left: fx.Proxy = self.create_proxy(
            "call_function", left_behind, (out, self.proxy(change)), {}
        )
        return left


def trace(detector: Detector) -> TracedDetector:
    """Trace a detector with torch.fx.

    A module whose forward cannot be traced (control flow on values) becomes a leaf: the smallest
    one around the place, found by trying again.

    Parameters
    ----------
    detector : Detector
        Its module is read, not changed.

    Returns
    -------
    TracedDetector
        Graph, names and report.

    Raises
    ------
    TraceError
        If the outermost forward itself cannot be traced.
    """
    leaves: dict[str, str] = {}
    while True:
        tracer = _Tracer(leaves)
        try:
            with _new_attributes(detector.module) as constants:
                graph = tracer.trace(detector.module)
        except Exception as error:  # fx raises whatever the forward raises on a Proxy
            if tracer.failed is None or tracer.failed in leaves:
                raise TraceError(
                    f"{detector.name} cannot be traced by torch.fx: {error}. Move the part of "
                    "forward that depends on values into a submodule; it then becomes a leaf."
                ) from error
            leaves[tracer.failed] = str(error).splitlines()[0]
            continue
        follow_changes(graph, detector.module)
        order = {node: i for i, node in enumerate(graph.nodes)}
        names = sorted(tracer.outputs.items(), key=lambda item: order[item[1]])
        used = {k: v for k, v in leaves.items() if k in {str(n.target) for n in graph.nodes}}
        report = TraceReport(len(order), used)
        return TracedDetector(detector, graph, dict(names), report, constants)


@contextmanager
def _new_attributes(module: nn.Module) -> Iterator[dict[str, Any]]:
    """Take off a module what tracing puts on it: fx keeps tensors it meets as attributes."""
    before = set(vars(module))
    taken: dict[str, Any] = {}
    try:
        yield taken
    finally:
        for name in set(vars(module)) - before:
            taken[name] = vars(module).pop(name)


def extract(
    traced: TracedDetector, inputs: list[fx.Node], outputs: list[fx.Node]
) -> fx.GraphModule:
    """Compile the part of the graph that leads from some values to others.

    Parameters
    ----------
    traced : TracedDetector
        Whose graph.
    inputs : list of torch.fx.Node
        Values that are given; the placeholders of the result, in this order.
    outputs : list of torch.fx.Node
        Values that are asked for; the result returns them as a tuple. Each is taken before a
        following in-place operation can change it.

    Returns
    -------
    torch.fx.GraphModule
        Shares the detector's submodules.
    """
    graph = fx.Graph()
    seen: dict[fx.Node, fx.Node] = {}
    for i, node in enumerate(inputs):
        seen[node] = graph.placeholder(f"given_{i}")
    taken: dict[fx.Node, fx.Node] = {}
    wanted = _ancestors(outputs, set(inputs))
    for node in traced.graph.nodes:
        if node in wanted and node not in seen:
            seen[node] = graph.node_copy(node, seen.__getitem__)
        if node in outputs and node in seen:
            taken[node] = graph.call_function(_snapshot, (seen[node],))
    graph.output(tuple(taken[node] for node in outputs))
    return fx.GraphModule(_parts(traced, graph), graph)


def _parts(traced: TracedDetector, graph: fx.Graph) -> dict[str, Any]:
    """Find what a graph calls and reads: constants, submodules, parameters and buffers."""
    parts = dict(traced.constants)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node.target not in parts:
            parts[str(node.target)] = _attribute(traced.detector.module, str(node.target))
    return parts


def _attribute(module: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(module.get_submodule(parent), name)


def _snapshot(value: Any) -> Any:
    """Copy a tensor; sizes and other plain values are what they are."""
    return value.clone() if isinstance(value, Tensor) else value


def _ancestors(outputs: list[fx.Node], stops: set[fx.Node]) -> set[fx.Node]:
    """Nodes that the outputs need, given the stops."""
    found: set[fx.Node] = set()
    open_nodes = [node for node in outputs if node not in stops]
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes += [n for n in node.all_input_nodes if n not in stops]
    return found
