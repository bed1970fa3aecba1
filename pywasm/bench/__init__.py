"""`pywasm bench`: the toolkit and its peers measured side by side in headless browsers."""
