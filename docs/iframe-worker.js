// Search in a site that is opened from a folder: browsers start no worker from file://, so the
// search runs in a hidden frame instead. From a server nothing is changed. The theme would load
// such a script from elsewhere; this one is here so that the site works offline.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inner = frame.contentWindow;
      inner.document.open();
      inner.document.write("<!doctype html><html><body></body></html>");
      inner.document.close();
      inner.postMessage = (message) => window.postMessage({ worker: url, message }, "*");
      window.addEventListener("message", (event) => {
        if (event.data && event.data.worker === url) {
          event.stopImmediatePropagation();
          this.dispatchEvent(new MessageEvent("message", { data: event.data.message }));
        }
      });
      inner.importScripts = (...urls) =>
        urls.reduce((before, next) => before.then(() => load(inner, next)), Promise.resolve());
      this.inner = inner;
      this.ready = load(inner, url);
    }
    postMessage(message) {
      this.ready.then(() =>
        this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data: message })),
      );
    }
    terminate() {}
  };
  const load = (inner, url) =>
    new Promise((resolve, reject) => {
      const script = inner.document.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = reject;
      inner.document.body.appendChild(script);
    });
}
