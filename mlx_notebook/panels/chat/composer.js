const MAX_IMAGE_BYTES = 8_000_000;

/** Images for the next message: chosen, pasted or dropped. */
function imageBox({ root, text, notify, changed }) {
  const el = h("div", { class: "mlx-row mlx-images" });
  const file = h("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    "aria-label": "Images",
    tabindex: -1,
  });
  let images = [];
  const draw = () => {
    reconcile(
      el,
      images,
      (image) => image.id,
      (image) => ({
        el: h(
          "span",
          {},
          h("img", { src: image.url, alt: image.name }),
          h(
            "button",
            {
              type: "button",
              class: "mlx-button",
              "aria-label": `Remove ${image.name}`,
              onclick: () => {
                set(images.filter((other) => other !== image));
                text.focus();
              },
            },
            "Remove",
          ),
        ),
      }),
      () => {},
    );
    changed();
  };
  const set = (chosen) => {
    images = chosen;
    draw();
  };
  const take = (files) => {
    for (const one of files) {
      if (!one.type.startsWith("image/")) {
        notify(`${one.name} is not an image.`, true);
        continue;
      }
      if (one.size > MAX_IMAGE_BYTES) {
        notify(`${one.name} is larger than ${bytes(MAX_IMAGE_BYTES)}.`, true);
        continue;
      }
      const reader = new FileReader();
      reader.onload = () =>
        set([...images, { id: newId(), name: one.name || "image", url: reader.result }]);
      reader.onerror = () => notify(`${one.name} cannot be read.`, true);
      reader.readAsDataURL(one);
    }
  };
  file.addEventListener("change", () => {
    take(file.files);
    file.value = "";
  });
  text.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
  root.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
  });
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    take(event.dataTransfer.files);
  });
  return {
    el,
    file,
    urls: () => images.map((image) => image.url),
    setUrls: (urls) => set(urls.map((url, at) => ({ id: newId(), name: `image ${at + 1}`, url }))),
  };
}

/** The message box with its images. It may hold an earlier message for editing. */
function composer({ root, notify, changed }) {
  const text = h("textarea", {
    "aria-label": "Message",
    placeholder: "Message (Enter sends, Shift+Enter adds a line, Escape stops)",
  });
  const images = imageBox({ root, text, notify, changed });
  let replaces = null,
    draft;
  const cancel = h(
    "button",
    {
      type: "button",
      class: "mlx-button",
      onclick: () => {
        set(draft);
        text.focus();
      },
    },
    "Cancel editing",
  );
  const editing = h(
    "div",
    { class: "mlx-row", hidden: true },
    h(
      "span",
      { class: "mlx-grow" },
      "You are editing an earlier message. Sending it replaces everything after it.",
    ),
    cancel,
  );
  const get = () => ({ text: text.value, images: images.urls(), replaces });
  const set = (message = { text: "", images: [] }) => {
    text.value = message.text;
    replaces = message.replaces ?? null;
    editing.hidden = replaces === null;
    images.setUrls(message.images);
    if (replaces === null) draft = undefined;
  };
  const edit = (message) => {
    draft ??= get();
    set(message);
  };
  return {
    text,
    images,
    get,
    edit,
    parts: [editing, text, images.el],
    /** Clear the box; after an edit, restore what was in it before. */
    clear: () => set(draft),
    /** Put a refused message back, before what has been typed since. */
    restore(message) {
      if (message.replaces) return edit(message);
      const now = get();
      return set({
        ...message,
        text: [message.text, now.text].filter(Boolean).join("\n\n"),
        images: [...message.images, ...now.images],
      });
    },
  };
}
