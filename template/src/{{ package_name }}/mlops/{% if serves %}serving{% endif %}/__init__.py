"""The model server: the registered pipeline, compiled; light until it is started."""
