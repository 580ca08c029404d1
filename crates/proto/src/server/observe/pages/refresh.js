"use strict";
(() => {
  const INTERVAL = 1000, TIMEOUT = 4000;
  const root = document.documentElement;
  const stale = document.getElementById("stale");
  let timer = 0;

  // Replaces the contents of the live elements that have changed, except where text is selected.
  const update = (fresh) => {
    const selection = getSelection();
    for (const element of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(element.id);
      if (!other || (!selection.isCollapsed && selection.containsNode(element, true))) continue;
      if (element.className !== other.className) element.className = other.className;
      if (element.innerHTML !== other.innerHTML) element.replaceChildren(...other.childNodes);
    }
    document.title = fresh.title;
  };

  const setStale = (isStale) => {
    document.body.classList.toggle("is-stale", isStale);
    const text = isStale ? stale.dataset.text : "";
    if (stale.textContent !== text) stale.textContent = text;
  };

  const refresh = async () => {
    try {
      const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
      if (!response.ok) throw new Error(response.status);
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      // The page of another version can have another script.
      if (fresh.documentElement.dataset.version !== root.dataset.version) return location.reload();
      update(fresh);
      setStale(false);
    } catch {
      setStale(true);
    }
    schedule();
  };

  const schedule = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(refresh, INTERVAL);
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) refresh();
  });
  schedule();
})();
