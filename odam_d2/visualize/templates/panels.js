"use strict";
/* Several maps side by side: all attributes of a box, or its map beside those that it is compared with. */
const OdamPanels = (() => {
  const { $, element, mapsOf, hasMap } = OdamView;
  const photos = new WeakMap();
  let round = 0;

  /** The photograph as an image element that is decoded once. */
  function photoOf(record) {
    if (!record.image) return null;
    if (!photos.has(record)) photos.set(record, element("img", { src: record.image, alt: "" }));
    return photos.get(record);
  }

  /** A panel for each attribute of the chosen box. */
  function ofAttributes(scene) {
    const detection = scene.record.detections[scene.row], maps = mapsOf(detection, scene.method, "");
    return scene.facts.names.filter((name) => hasMap(scene.facts, maps, name))
      .map((name) => ({ role: "", name, title: name, boxes: [[detection.box, "#fff"]], label: `Heat map of ${name}`, chosen: name === scene.attribute }));
  }

  /** The roles of maps that the chosen box has beside its own. */
  function rolesOf(detection, method) {
    return Object.keys(detection?.maps[method] ?? {}).filter((role) => role !== "");
  }

  /** What a role's map is of: { box, label, truth }, by what the row says of it, or by what roles usually are. */
  function subjectOf(record, detection, role) {
    const told = detection.roles[role] ?? {};
    const other = told.row == null ? null : record.detections[told.row];
    const truth = detection.annotation == null ? null : record.annotations?.[detection.annotation];
    const box = told.box ?? other?.box ?? (role === "annotated box" ? truth?.box : null) ?? detection.box;
    const label = told.label ?? other?.label ?? (role === "true class" || role === "annotated box" ? truth?.label : null) ?? detection.label;
    return { box, label, attribute: told.attribute };
  }

  /** The chosen box's own map, and a panel for each other role. */
  function ofRoles(scene) {
    const { record, facts, method } = scene, detection = record.detections[scene.row];
    return ["", ...rolesOf(detection, method)].map((role) => {
      const maps = mapsOf(detection, method, role), { box, label, attribute } = role ? subjectOf(record, detection, role) : detection;
      const wanted = [scene.attribute, attribute, maps?.attributes[0]].find((name) => name && hasMap(facts, maps, name));
      const title = role ? `${role}: ${label}` : `as it is: ${label}`;
      const boxes = role && String(box) !== String(detection.box) ? [[detection.box, "#fff8"], [box, "#7dff9b"]] : [[detection.box, "#fff"]];
      return { role, name: wanted, title: wanted === scene.attribute ? title : `${title} (${wanted ?? "no map"})`, boxes, label: `Heat map of ${wanted}, ${title}`, chosen: role === "" };
    });
  }

  /**
   * Draws panels as large as the stage lets them be. choose(panel) is called where one is clicked. A panel may have a
   * `scene` of its own, of an image of the same size: then its map is that of the row chosen there.
   */
  function draw(scene, panels, choose) {
    const { record } = scene, { room } = OdamView, gap = 10, caption = 24;
    const boxes = scene.panelZoom ? panels.flatMap((panel) => panel.boxes.map(([box]) => box)) : [];
    // Windows count in cells of the model's input, whose size may differ from one scene to another.
    const windows = panels.filter(({ scene: own }) => String((own ?? scene).record.input) === String(record.input))
      .map(({ scene: own = scene, role }) => mapsOf(own.record.detections[own.row], own.method, role)).filter(Boolean);
    const view = OdamView.viewOf(record, boxes, windows);
    let best = { scale: 0, columns: 1 };
    for (let columns = 1; columns <= panels.length; columns++) {
      const rows = Math.ceil(panels.length / columns);
      const w = (room.width - gap * (columns + 1)) / columns, h = (room.height - gap * (rows + 1)) / rows - caption;
      const scale = Math.min(w / view[2], h / view[3]);
      if (scale > best.scale) best = { scale, columns };
    }
    const width = Math.max(40, Math.floor(best.scale * view[2])), height = Math.max(20, Math.floor(best.scale * view[3]));
    $("multiples").style.gridTemplateColumns = `repeat(${best.columns}, ${width}px)`;
    const mine = ++round;
    $("multiples").replaceChildren(...panels.map((panel) => {
      const ratio = Math.min(2, window.devicePixelRatio || 1);
      const canvas = element("canvas", { width: width * ratio, height: height * ratio, "aria-hidden": "true" });
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
      const paint = () => { if (mine === round) paintPanel(canvas, panel.scene ?? scene, panel, view); };
      const photo = photoOf((panel.scene ?? scene).record);
      paint();
      if (photo && !photo.complete) photo.addEventListener("load", paint, { once: true });
      const button = element("button", {
        class: panel.chosen ? "multiple chosen" : "multiple", "aria-label": panel.label, title: panel.title, onclick: () => choose(panel),
      }, canvas, element("span", {}, OdamView.isolated(panel.title)));
      button.style.width = `${width + 2}px`; // as a property: a page's policy may forbid the attribute
      return button;
    }));
  }

  function paintPanel(canvas, scene, panel, view) {
    const { record } = scene, context = canvas.getContext("2d"), photo = photoOf(record);
    const part = (source, sourceWidth, sourceHeight) => {
      const fx = sourceWidth / record.size[0], fy = sourceHeight / record.size[1];
      return [source, view[0] * fx, view[1] * fy, view[2] * fx, view[3] * fy, 0, 0, canvas.width, canvas.height];
    };
    context.fillStyle = "#777";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (photo?.complete && photo.naturalWidth) context.drawImage(...part(photo, photo.naturalWidth, photo.naturalHeight));
    if (scene.heat && panel.name) {
      const heat = OdamView.heatCanvas(scene, panel.role, panel.name);
      context.globalAlpha = scene.opacity;
      context.drawImage(...part(heat, heat.width, heat.height));
      context.globalAlpha = 1;
    }
    if (!scene.boxes) return;
    const scale = canvas.width / view[2];
    for (const [box, colour] of panel.boxes) {
      for (const [ink, thick] of [["#000a", 4], [colour, 2]]) {
        context.strokeStyle = ink;
        context.lineWidth = thick;
        context.strokeRect((box[0] - view[0]) * scale, (box[1] - view[1]) * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
      }
    }
  }

  return { ofAttributes, ofRoles, rolesOf, photoOf, paintPanel, draw };
})();
