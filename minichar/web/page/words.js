// The words of the page, in its languages.

export const words = {
  en: {
    tagline: "A character-level language model writes on from what you give it.",
    model: "Model", prime: "The text begins with", temperature: "Temperature", length: "Length", seed: "Seed (empty: any)",
    topk: "Top k (0: all)", until: "Stop before (empty: five line breaks)",
    write: "Write", stop: "Stop", continue: "Continue", text: "Text", surprise: "Show surprise", copy: "Copy", share: "Share link",
    expected: "expected", surprising: "surprising",
    branching: "Point at a character to see what else the model thought likely; choose another to write on from there.",
    alternatives: "What the model thought likely", api: "The interface, for programs",
    learned: "has learned", writing: "Writing …", waiting: "Waiting for its turn …",
    length_reached: "As long as you wished.", stopped_at: "The stop text came.", cancelled: "Stopped.",
    lost: "The connection is lost; trying again …", restarted: "A worker died; another goes on from here.",
    copied: "Copied.", shared: "The link is copied; it gives this same text.", shared_here: "The link is in the address bar.",
    characters: "characters", seed_was: "seed", of_surprise: "surprise {s} nats, probability {p}", none: "No model is there now.",
    old_model: "The link's model is not here; this is another.",
  },
  zh: {
    tagline: "字符级语言模型，接着你给的开头往下写。",
    model: "模型", prime: "开头", temperature: "温度", length: "长度", seed: "种子（空：随机）",
    topk: "前 k 个（0：全部）", until: "遇此即止（空：五个换行）",
    write: "开始", stop: "停止", continue: "继续", text: "文本", surprise: "显示意外程度", copy: "复制", share: "分享链接",
    expected: "意料之中", surprising: "出乎意料",
    branching: "指向一个字，看模型认为还可能是什么；选另一个字，就从那里改写。",
    alternatives: "模型认为可能的字", api: "程序接口",
    learned: "学自", writing: "正在写……", waiting: "正在排队……",
    length_reached: "已写到所需长度。", stopped_at: "遇到了停止文字。", cancelled: "已停止。",
    lost: "连接中断，正在重试……", restarted: "一个工作进程中断，由另一个从此处接着写。",
    copied: "已复制。", shared: "链接已复制，打开即得同样的文本。", shared_here: "链接在地址栏中。",
    characters: "字", seed_was: "种子", of_surprise: "意外 {s} 奈特，概率 {p}", none: "目前没有可用的模型。",
    old_model: "链接中的模型不在这里，已换用另一个。",
  },
};
