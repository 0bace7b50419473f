// Before the first paint, so that the page never flashes in the other theme. Not a module: those wait for the document.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("wagateway.theme");
  } catch {
    // Storage is off: the system's theme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
