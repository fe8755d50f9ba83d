// From a video element to the pixels of clips: which frames, and how they are resized and cropped, as the protocol says.
// The rules are those of tubelet.data.clips; frames are resized by a triangle as wide as the reduction (antialiased).

/** Frames per second: the least distance of two frames that are shown one after the other, played slowly. */
export async function frameRate(video, numFrames = 12) {
  if (!video.currentSrc) throw new Error("choose a video");
  if (video.error) throw new Error("this browser cannot play the video");
  if (video.readyState < 2) {
    await new Promise((resolve, reject) => {
      video.addEventListener("loadeddata", resolve, { once: true });
      video.addEventListener("error", () => reject(new Error("this browser cannot play the video")), { once: true });
    });
  }
  const rate = video.playbackRate;
  await seek(video, 0);
  video.muted = true;
  video.playbackRate = 0.25;
  const times = await new Promise((resolve, reject) => {
    const seen = [];
    const next = (_, { mediaTime }) => {
      seen.push(mediaTime);
      if (seen.length < numFrames && !video.ended) video.requestVideoFrameCallback(next);
      else resolve(seen);
    };
    video.requestVideoFrameCallback(next);
    video.addEventListener("ended", () => resolve(seen), { once: true });
    video.play().catch(reject);
  });
  video.pause();
  video.playbackRate = rate;
  const steps = times.slice(1).map((t, i) => t - times[i]).filter((step) => step > 1e-4);
  if (steps.length === 0) throw new Error("the video shows fewer than two frames");
  return 1 / Math.min(...steps);
}

/** The frame numbers of every temporal view. */
export function viewPlans(count, fps, protocol) {
  const { num_frames: length, num_temporal_views: views, sampling } = protocol;
  const numbers = Array.from({ length }, (_, i) => i), shares = Array.from({ length: views }, (_, i) => i);
  const last = (n) => Math.min(n, count - 1);
  if (sampling === "sparse") {
    const segment = (count - 1) / length, shift = segment / (views + 1);
    return shares.map((view) => numbers.map((i) => last(Math.round(segment * i) + Math.floor(shift * (view + 1)))));
  }
  if (sampling !== "dense") {
    const shift = (view) => (sampling === "uniform" ? (2 * view + 1) / (2 * views) : view / views);
    return shares.map((view) => numbers.map((i) => last(Math.floor((i + shift(view)) * count / length))));
  }
  const step = protocol.frame_stride ?? fps / protocol.target_fps; // source frames between samples
  const room = Math.max(count - length * step, 0), is_short = (length - 1) * step > count - 1;
  if (is_short && protocol.short_video === "error") throw new Error("the video is shorter than a clip");
  return shares.map((view) => {
    const start = views === 1 ? room / 2 : room * view / (views - 1);
    const first = protocol.frame_stride === null ? start : Math.floor(start);
    const loop = protocol.short_video === "loop";
    return numbers.map((i) => Math.floor(first + i * step + 1e-6)).map((n) => (loop ? n % count : last(n)));
  });
}

/** The pixels of each spatial crop of a clip: Uint8Arrays [T, H, W, 3]. */
export async function pixelsOf(video, plan, fps, protocol) {
  const { crops, resized } = geometry(video.videoHeight, video.videoWidth, protocol), [h, w] = protocol.crop_size;
  const found = crops.map(() => new Uint8Array(plan.length * h * w * 3));
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const kept = new Map();
  for (const [i, number] of plan.entries()) {
    if (!kept.has(number)) {
      await seek(video, (number + 0.5) / fps);
      context.drawImage(video, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      kept.set(number, resize(data, [canvas.height, canvas.width], resized));
    }
    const frame = kept.get(number);
    crops.forEach(([top, left], crop) => {
      for (let y = 0; y < h; y++) {
        const from = 3 * ((top + y) * resized[1] + left);
        found[crop].set(frame.subarray(from, from + 3 * w), 3 * w * (i * h + y));
      }
    });
  }
  return found;
}

async function seek(video, seconds) {
  const target = Math.min(seconds, Math.max(0, video.duration - 1e-3));
  if (Math.abs(video.currentTime - target) < 1e-6) return;
  const done = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
  video.currentTime = target;
  await done;
}

/** The size of a resized frame, and the top left corners of its crops. */
export function geometry(height, width, { resize_short_side: short, crop_size: [h, w], num_spatial_crops: num }) {
  const resized = height <= width
    ? [short, Math.floor(width * short / height)]
    : [Math.floor(height * short / width), short];
  const room = [resized[0] - h, resized[1] - w];
  if (Math.min(...room) < 0) throw new Error(`frames of ${height}x${width} are too small for crops of ${h}x${w}`);
  const center = room.map((r) => Math.ceil(r / 2));
  if (num === 1) return { resized, crops: [center] };
  const tall = resized[0] > resized[1] ? 1 : 0;
  const crops = [0, center[1 - tall], room[1 - tall]].map((at) => (tall ? [at, center[1]] : [center[0], at]));
  return { resized, crops };
}

/** RGBA pixels of a size as RGB of another. */
export function resize(data, [height, width], [newHeight, newWidth]) {
  const across = weights(width, newWidth), down = weights(height, newHeight);
  const rows = new Float32Array(height * newWidth * 3), out = new Uint8Array(newHeight * newWidth * 3);
  for (let y = 0; y < height; y++) {
    across.forEach(({ first, share }, x) => {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < share.length; k++) sum += share[k] * data[4 * (y * width + first + k) + c];
        rows[3 * (y * newWidth + x) + c] = sum;
      }
    });
  }
  down.forEach(({ first, share }, y) => {
    for (let i = 0; i < 3 * newWidth; i++) {
      let sum = 0;
      for (let k = 0; k < share.length; k++) sum += share[k] * rows[(first + k) * 3 * newWidth + i];
      out[y * 3 * newWidth + i] = Math.round(sum);
    }
  });
  return out;
}

/** For each new pixel of an axis, the first old one that it sees and their weights. */
function weights(size, newSize) {
  const scale = size / newSize, reach = Math.max(1, scale);
  return Array.from({ length: newSize }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - reach + 0.5)), end = Math.min(size, Math.floor(center + reach + 0.5));
    const share = Array.from({ length: end - first }, (_, k) =>
      Math.max(0, 1 - Math.abs((first + k + 0.5 - center) / reach)));
    const sum = share.reduce((a, b) => a + b);
    return { first, share: share.map((x) => x / sum) };
  });
}
