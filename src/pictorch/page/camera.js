// The camera: opened when asked for, its frames as image files, and why it does not open, in words.
import { Problem } from "./problems.js";

const WIDTH = 640; // pixels; models see far fewer

const REFUSALS = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser (mostly left of the address), then try again.",
  NotFoundError: "No camera was found. Connect one, or choose an image.",
  NotReadableError: "The camera is used by another program. Close that one, then try again.",
};

/** Shows the camera in a video element and returns its stream; throws a Problem. */
export async function openCamera(video, ended) {
  if (!navigator.mediaDevices) {
    throw new Problem("Browsers give the camera to https pages and to this machine's own http://127.0.0.1 and " +
      "http://localhost only. Open the page there, or choose an image.");
  }
  try {
    const wish = { width: { ideal: WIDTH }, facingMode: { ideal: "environment" } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
    stream.getVideoTracks()[0].onended = ended;
    video.srcObject = stream;
    await video.play();
    return stream;
  } catch (error) {
    throw new Problem(REFUSALS[error.name] ?? `The camera does not start (${error.name}). Choose an image instead.`);
  }
}

export function closeCamera(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/** Returns what the camera sees now as a PNG file, so that no compression comes between it and the model. */
export async function takeFrame(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return new File([blob], "camera.png", { type: "image/png" });
}
