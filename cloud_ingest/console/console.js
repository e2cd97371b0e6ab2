// Lets ages grow by themselves, by the server's clock, also while the connection is lost.
(() => {
  const PATTERNS = /*PATTERNS*/ {};
  const lang = document.documentElement.lang.startsWith("zh") ? "zh" : "en";
  let told = null;
  let offset = 0;

  function wording(seconds) {
    const say = (unit, n) => PATTERNS[lang][unit].replace("{n}", n);
    if (seconds < 1) return say("now", 0);
    if (seconds < 100) return say("s", Math.floor(seconds));
    if (seconds < 6000) return say("m", Math.floor(seconds / 60));
    if (seconds < 172800) return say("h", Math.floor(seconds / 3600));
    return say("d", Math.floor(seconds / 86400));
  }

  function tick() {
    const now = document.getElementById("campus-clock")?.dataset.now;
    if (now && now !== told) {
      told = now;
      offset = Date.now() - Number(now);
    }
    for (const element of document.querySelectorAll("time[data-at]")) {
      const at = element.dataset.at;
      const text = at ? wording((Date.now() - offset - Number(at)) / 1000) : "";
      if (element.textContent !== text) element.textContent = text;
    }
  }

  setInterval(tick, 1000);
  new MutationObserver(tick).observe(document.documentElement, { subtree: true, attributeFilter: ["data-at", "data-now"], attributes: true, childList: true });
})();
