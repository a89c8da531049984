// Keeps the page on this device, so that it opens without a network and can be installed.
import { byId } from "./dom.js";
import { Problem, showProblem } from "./problems.js";

let watched = false;

/** Once `loaded`, lets the service worker keep every file. When it has later brought a newer version, the page
 * is opened anew where it `isIdle()`, otherwise the person is told. */
export async function keepOffline(loaded, isIdle) {
  const { serviceWorker } = navigator; // browsers give it to https and to this machine's own pages only
  if (!serviceWorker) return;
  if (serviceWorker.controller && !watched) {
    watched = true;
    serviceWorker.addEventListener("controllerchange", () => {
      if (isIdle()) {
        location.reload();
      } else {
        showProblem(new Problem("A newer version of this page has come. Reload it to use that one; the images so far " +
          "are forgotten then."));
      }
    });
  }
  let registration;
  try {
    await loaded;
    registration = await serviceWorker.register(new URL("../service-worker.js", import.meta.url));
    await serviceWorker.ready;
  } catch {
    return; // the page works all the same, while it is connected
  }
  byId("kept").textContent = "This device has kept it all: the page opens without a network too, and your browser " +
    "may install it as an app.";
  registration.update().catch(() => {}); // browsers ask in their own time, and offline nobody answers
}
