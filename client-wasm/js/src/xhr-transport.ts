/** Requests by XMLHttpRequest: in windows and their workers, and the only way to see how much was sent. */

import { NoReplyError, type Transport, type TransportReply, type TransportRequest } from "./transport.js";

/** Carries requests by XMLHttpRequest. */
export class XhrTransport implements Transport {
  send(request: TransportRequest): Promise<TransportReply> {
    const { url, headers, body, signal, onUpload } = request;
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const xhr = new XMLHttpRequest();
      const abort = (): void => xhr.abort();
      const wasOffline = navigator.onLine === false;
      const fail = (): void => reject(new NoReplyError("no reply came", !(wasOffline && navigator.onLine === false)));
      xhr.open("POST", url);
      xhr.responseType = "arraybuffer";
      for (const [name, value] of Object.entries(headers)) {
        xhr.setRequestHeader(name, value);
      }
      if (onUpload !== undefined) {
        xhr.upload.onprogress = (event) => onUpload(event.loaded);
      }
      xhr.onload = () => {
        const reply: unknown = xhr.response;
        const bytes = reply instanceof ArrayBuffer ? new Uint8Array(reply) : new Uint8Array();
        resolve({ status: xhr.status, header: (name) => xhr.getResponseHeader(name), body: bytes });
      };
      xhr.onerror = fail;
      xhr.ontimeout = fail;
      xhr.onabort = () => reject(signal.reason);
      xhr.onloadend = () => signal.removeEventListener("abort", abort);
      signal.addEventListener("abort", abort);
      xhr.send(body);
    });
  }
}
