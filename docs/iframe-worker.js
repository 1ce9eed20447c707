// The search runs in a worker, which browsers refuse to a page that is opened as a file. There an invisible frame takes the
// worker's place, so that the site needs neither a server nor a script from elsewhere.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inside = frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.src = url;
      this.ready = new Promise((loaded) => script.addEventListener("load", loaded));
      this.deliver = (data) => inside.dispatchEvent(new MessageEvent("message", { data }));
      inside.document.body.appendChild(script);
    }
    postMessage(data) {
      this.ready.then(() => this.deliver(data));
    }
  };
}
