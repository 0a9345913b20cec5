"use strict";
/* From a window of grid cells to an image, by the rule of HeatMaps.to_image: cell (i, j) is centred at
   ((j + .5) stride_x, (i + .5) stride_y) in model-input pixels; bilinear between centres; beyond the outermost centres
   of the grid the outermost cell goes on; cells wholly beyond the image are padding and never enter; outside the
   window the map is zero; min-max to [0, 1]. */
const OdamHeat = (() => {
  /** Bytes behind a base64 text. */
  function decode(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    return bytes;
  }

  /** For each of `output` samples along one axis: the lower of its two cells, counted in the window, and the upper's share. */
  function axis(start, grid, stride, output, extent) {
    const cell = new Int32Array(output), share = new Float32Array(output);
    const last = Math.min(grid, Math.ceil(extent / stride)) - 1;
    for (let o = 0; o < output; o++) {
      const position = Math.min(Math.max((o + 0.5) * extent / output / stride - 0.5, 0), last);
      const low = Math.floor(position);
      cell[o] = low - start;
      share[o] = position - low;
    }
    return { cell, share };
  }

  /** First and behind the last of the samples that the window reaches; cells count in the window and rise. */
  function reach({ cell }, cells) {
    let first = 0, end = cell.length;
    while (first < end && cell[first] < -1) first++;
    while (end > first && cell[end - 1] >= cells) end--;
    return [first, end];
  }

  /**
   * The map of one detection as the part of an image that its window reaches, not normalised; it is zero elsewhere.
   * where: { window: [top, left, rows, columns], grid: [H, W], stride: [y, x] }; bytes: rows x columns;
   * input: [h, w] of the model input without padding; height, width: of the image.
   * Returns { top, left, height, width } of the part, its `values`, row by row, and whether it is the `whole` image.
   */
  function render(where, bytes, input, height, width) {
    const [top, left, rows, columns] = where.window;
    const y = axis(top, where.grid[0], where.stride[0], height, input[0]);
    const x = axis(left, where.grid[1], where.stride[1], width, input[1]);
    const [firstV, endV] = reach(y, rows), [firstU, endU] = reach(x, columns), wide = endU - firstU;
    const values = new Float32Array((endV - firstV) * wide), line = new Float32Array(columns);
    let place = 0;
    for (let v = firstV; v < endV; v++) {
      const row = y.cell[v], lower = y.share[v], upper = 1 - lower;
      for (let j = 0; j < columns; j++) {
        line[j] = (row >= 0 ? upper * bytes[row * columns + j] : 0)
          + (row + 1 < rows ? lower * bytes[(row + 1) * columns + j] : 0);
      }
      for (let u = firstU; u < endU; u++) {
        const column = x.cell[u];
        values[place++] = (column >= 0 ? (1 - x.share[u]) * line[column] : 0)
          + (column + 1 < columns ? x.share[u] * line[column + 1] : 0);
      }
    }
    return { top: firstV, left: firstU, height: endV - firstV, width: wide, values, whole: values.length === height * width };
  }

  /** Min-max of the image to [0, 1], in place; an image without contrast becomes zero. */
  function normalise(part) {
    const { values } = part;
    let low = part.whole ? Infinity : 0, high = part.whole ? -Infinity : 0;
    for (let k = 0; k < values.length; k++) {
      const value = values[k];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const scale = high > low ? 1 / (high - low) : 0;
    for (let k = 0; k < values.length; k++) values[k] = (values[k] - low) * scale;
    return part;
  }

  /** Element-wise maximum of maps of one window, into the first. */
  function maximum(parts) {
    const [first, ...others] = parts;
    for (const { values } of others) {
      for (let k = 0; k < values.length; k++) if (values[k] > first.values[k]) first.values[k] = values[k];
    }
    return first;
  }

  /** Writes colour and opacity of each heat value into RGBA pixels; opacity grows with the heat up to `opaqueFrom`. */
  function colour(values, lut, opaqueFrom, pixels) {
    for (let k = 0; k < values.length; k++) {
      const heat = values[k], entry = 3 * Math.min(255, Math.floor(heat * 256));
      pixels[4 * k] = lut[entry];
      pixels[4 * k + 1] = lut[entry + 1];
      pixels[4 * k + 2] = lut[entry + 2];
      pixels[4 * k + 3] = 255 * Math.min(1, heat / opaqueFrom);
    }
  }

  return { decode, render, normalise, maximum, colour };
})();
