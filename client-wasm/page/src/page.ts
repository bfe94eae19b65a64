/** The demo page: a bucket that anybody can drop files into, and the nodes that keep them. */

import { Store } from "holdfast";

import { ClusterPanel } from "./cluster-panel.js";
import { Files } from "./files.js";
import { Uploads } from "./uploads.js";

// The node that served the page is the first that is asked; the others are learnt from it.
const store = new Store({ bucket: "demo" });
const panel: ClusterPanel = new ClusterPanel(store, () => files.redrawNodes());
const files = new Files(store, panel);

new Uploads(store, () => files.refresh()).listen();
void panel.run();
void files.run();
