"""Tracing by torch.fx: trace a detector once, with leaves as small as possible, and name values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from probe.detectors.detector import Detector, left_as_it_was
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
    """Return `value` as the in-place operation `change` has left it; it follows it in the graph."""
    return value


def changed_since(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return the last operation so far that changed a node's value in place, or None.

    Parameters
    ----------
    node : torch.fx.Node
        Node of a graph that may still be growing.
    root : torch.nn.Module
        Module that is being traced.
    """
    changes = [user for user in node.users if _source(user, root) is node]
    return changes[-1] if changes else None


def follow_changes(graph: fx.Graph, root: nn.Module) -> None:
    """Insert a separate node for the input of each in-place operation as changed by it.

    Nodes that read the input after the operation read a `left_behind` node instead. Where the
    graph is split, the value before the change is then never confused with the value after it,
    and do() on the operation's result does not change its input, as with a hook on the module.
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
    """Return the input that an operation changes in place, or None."""
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
    """What was traced, and which modules could not be traced.

    Attributes
    ----------
    nodes : int
        Number of operations in the graph.
    leaves : mapping
        Path of each module that became a leaf to the reason why it could not be traced.
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
    """A detector with its graph; the module itself is not changed.

    Attributes
    ----------
    detector : Detector
        Detector that was traced.
    graph : torch.fx.Graph
        Graph from one placeholder, the images, to the fake logits.
    layers : mapping
        Name of every layer that can be tapped to its node, in order of execution. Names are
        module paths; ``relu@2`` is the second call of a module that is called several times.
    report : TraceReport
        Which modules stayed leaves, and why.
    constants : mapping
        Tensors created by forward during tracing, by their names in the graph.
    """

    detector: Detector
    graph: fx.Graph
    layers: Mapping[str, fx.Node]
    report: TraceReport
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say how many layers there are, and how many modules stayed whole."""
        leaves = f", {len(self.report.leaves)} not traced" if self.report.leaves else ""
        return f"<TracedDetector {self.detector.name}: {len(self.layers)} layers{leaves}>"

    def resolve(self, layer: str) -> str:
        """Return the full name of a layer; the wrapper prefix ``body.`` may be omitted.

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
    """Traces through everything except given leaves, and records each module's output node."""

    def __init__(self, leaves: Mapping[str, str]) -> None:
        super().__init__()
        self.leaves = leaves
        self.stack: list[str] = []
        self.failed: str | None = None
        self.outputs: dict[str, fx.Node] = {}
        self._calls: dict[str, int] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return True for PyTorch's own modules and the given leaves."""
        return module_qualified_name in self.leaves or super().is_leaf_module(
            m, module_qualified_name
        )

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace the call of a module, and record the innermost module in which tracing failed."""
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
        """Insert a `left_behind` node if the returned value was changed in place."""
        change = changed_since(out.node, self.root)
        if change is None:
            return out
        left: fx.Proxy = self.create_proxy(
            "call_function", left_behind, (out, self.proxy(change)), {}
        )
        return left


def trace(detector: Detector) -> TracedDetector:
    """Trace a detector with torch.fx.

    Where forward cannot be traced (control flow on values), the smallest enclosing module becomes
    a leaf. It is found by tracing again after each failure.

    Parameters
    ----------
    detector : Detector
        Detector to trace; its module is not changed.

    Returns
    -------
    TracedDetector
        Graph, layer names and report.

    Raises
    ------
    TraceError
        If the outermost forward itself cannot be traced.

    Examples
    --------
    >>> import probe
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.trace(detector)
    <TracedDetector meso4: 24 layers>
    """
    leaves: dict[str, str] = {}
    while True:
        tracer = _Tracer(leaves)
        try:
            with left_as_it_was(detector.module), _new_attributes(detector.module) as constants:
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
    """Remove the attributes that tracing adds to a module: fx stores tensor constants there."""
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
    """Compile the part of a detector's graph from given inputs to given outputs.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector.
    inputs : list of torch.fx.Node
        Nodes whose values are given; they are the placeholders of the result, in this order.
    outputs : list of torch.fx.Node
        Nodes whose values the result returns, as a tuple. Each value is copied before a later
        in-place operation can change it.

    Returns
    -------
    torch.fx.GraphModule
        The compiled part; it shares the detector's submodules.
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
    """Return what a graph calls and reads: constants, submodules, parameters and buffers."""
    parts = dict(traced.constants)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node.target not in parts:
            parts[str(node.target)] = _attribute(traced.detector.module, str(node.target))
    return parts


def _attribute(module: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(module.get_submodule(parent), name)


def _snapshot(value: Any) -> Any:
    """Copy a tensor; return sizes and other plain values unchanged."""
    return value.clone() if isinstance(value, Tensor) else value


def _ancestors(outputs: list[fx.Node], stops: set[fx.Node]) -> set[fx.Node]:
    """Return the nodes that the outputs depend on, up to the stops."""
    found: set[fx.Node] = set()
    open_nodes = [node for node in outputs if node not in stops]
    while open_nodes:
        node = open_nodes.pop()
        if node not in found:
            found.add(node)
            open_nodes += [n for n in node.all_input_nodes if n not in stops]
    return found
