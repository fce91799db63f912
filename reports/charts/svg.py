"""SVG as Vega writes it → what the page holds: its fonts, no more digits than a screen has, ids of its own, what panels share only once."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from markupsafe import Markup

NAMESPACE = "http://www.w3.org/2000/svg"
DROPPED = ("class", "role", "pointer-events", "font-family", "stroke-miterlimit")
PLACES = ("d", "transform", "x", "x1", "x2", "y", "y1", "y2")
EMPTY = ("", "M0,0h0v0h0Z")
ElementTree.register_namespace("", NAMESPACE)


def picture(text: str, label: str, prefix: str, behind: str = "") -> Markup:
    """Return a panel's picture; with `behind`, the id of what it shares with others, without its axes, which stand there."""
    root = _tidied(text, prefix, without="role-axis" if behind else "")
    if behind:
        root.insert(0, Element(f"{{{NAMESPACE}}}use", {"href": f"#{behind}"}))
    kept = {name: root.attrib[name] for name in ("viewBox", "width", "height")}
    root.attrib.clear()
    root.attrib.update({"role": "img", "aria-label": label, **kept})
    return _written(root)


def backdrop(text: str, name: str) -> Markup:
    """Return what several pictures share, which shows nowhere by itself."""
    root = _tidied(text, f"{name}-part", without="")
    group = Element(f"{{{NAMESPACE}}}g", {"id": name})
    group.extend(list(root))
    holder = Element(f"{{{NAMESPACE}}}svg", {"class": "backdrop", "aria-hidden": "true", "width": "0", "height": "0"})
    holder.append(group)
    return _written(holder)


def _written(root: Element) -> Markup:
    return Markup(ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{NAMESPACE}"', "", 1))


def _tidied(text: str, prefix: str, without: str) -> Element:
    root = ElementTree.fromstring(text)
    _prune(root, without)
    ids: dict[str, str] = {}
    for element in root.iter():
        if "id" in element.attrib:
            ids[element.attrib["id"]] = element.attrib["id"] = f"{prefix}-{len(ids)}"
    for element in root.iter():
        for name in [name for name in element.attrib if name in DROPPED or name.startswith("aria-")]:
            del element.attrib[name]
        for name, value in element.attrib.items():
            if name in PLACES:
                element.attrib[name] = re.sub(r"(?<=\d\.\d)\d+", "", value)
            elif name != "id":
                element.attrib[name] = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{ids[found[1]]})", value)
    return root


def _prune(element: Element, without: str) -> None:
    """Take out groups of a role, and what draws nothing."""
    for child in list(element):
        _prune(child, without)
        kind = child.tag.rpartition("}")[2]
        nothing = (
            (kind == "path" and child.get("d", "") in EMPTY) or (kind == "g" and not len(child)) or (kind == "text" and not child.text)
        )
        if nothing or (without and without in child.get("class", "").split()):
            element.remove(child)
