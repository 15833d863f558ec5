"""Pictures of boots, as SVG drawn by matplotlib (extra tinykmod[plots]); light or dark as the viewer prefers."""
