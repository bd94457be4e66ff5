/**
 * Every sentence of the page, in English and in Chinese.
 *
 * Rules that hold here:
 * - Both languages have the same keys; a test compares them.
 * - Static text is marked in the HTML: `data-i18n` names the key of an element's
 *   text, `data-i18n-label` and `data-i18n-placeholder` those of its attributes.
 */

/** @type {Record<string, Record<string, string>>} */
export const MESSAGES = {
  en: {
    title: 'rtpush · pictures, live',
    tagline: 'Every device sees the same board, the moment it changes.',
    skip: 'Skip to the pictures',
    toolbar: 'Connection and settings',
    new_picture: 'New picture',
    prompt: 'What should it show?',
    prompt_placeholder: 'Describe a scene, a mood, a colour…',
    prompt_missing: 'Write a few words first.',
    ideas: 'Ideas',
    idea_1: 'Seven misty hills',
    idea_2: 'Two shy moons',
    idea_3: 'Garden after rain',
    mode: 'Style',
    mode_landscape: 'Landscape',
    mode_orbits: 'Orbits',
    mode_weave: 'Weave',
    mode_bloom: 'Bloom',
    submit: 'Draw it',
    submit_hint: 'or press {key} + Enter',
    board: 'On the board',
    active_count: '{n} in progress',
    hidden_count: '{n} more not shown',
    board_empty: 'A quiet board',
    board_empty_text: 'Ask for a picture and watch it being drawn – here and on every other device that is looking.',
    terminal: 'Try it from a terminal',
    terminal_text: 'Publishing is one HTTP request. Run this and a card appears on every open page.',
    terminal_prompt: 'Hello from the terminal',
    copy: 'Copy',
    copied: 'Copied',
    draft: 'Waiting to be sent…',
    waiting: 'Waiting for its turn…',
    untaken: 'No program takes tasks here. Start the server with --demo, or connect a worker of your own.',
    progress: 'Progress: {prompt}',
    elapsed: 'Elapsed time',
    cancel: 'Cancel',
    retry: 'Try again',
    show_all: 'Show all',
    show_less: 'Show less',
    download: 'Download',
    enlarge: 'Enlarge: {prompt}',
    close: 'Close',
    dismiss: 'Dismiss',
    status_active: 'In progress',
    status_completed: 'Finished',
    status_failed: 'Failed',
    status_cancelled: 'Cancelled',
    status_cancelling: 'Cancelling',
    no_reason: 'It failed without saying why.',
    announce_completed: 'Finished: {prompt}',
    announce_failed: 'Failed: {prompt}',
    announce_cancelled: 'Cancelled: {prompt}',
    just_now: 'just now',
    light_connecting: 'Connecting…',
    light_offline: 'Offline',
    light_failed: 'Disconnected',
    transport_websocket: 'WebSocket',
    transport_sse: 'SSE',
    transport_poll: 'Long-poll',
    milliseconds: '{n} ms',
    toast_connected: 'Connected over {transport}.',
    toast_lost: 'Connection lost. Reconnecting…',
    toast_recovered: 'Back again – nothing missed.',
    toast_refreshed: 'Back again – the board is up to date.',
    toast_stopped: 'The server ended the connection. Reload the page to try again.',
    toast_stopped_reason: 'The server ended the connection: {reason}. Reload the page to try again.',
    toast_error: 'That did not work: {reason}',
    theme_to_dark: 'Switch to dark colours',
    theme_to_light: 'Switch to light colours',
    lang_other: '中文',
    lang_switch: '切换到中文',
    footer: 'Raw WebSockets, small JSON messages, and a fallback for every proxy.',
    docs: 'Documentation',
    protocol: 'Protocol',
    api: 'HTTP API',
    noscript: 'This page needs JavaScript to show the live board.',
    error_task_exists: 'this task exists already',
    error_task_finished: 'this task has already ended',
    error_task_cancelling: 'this task is being cancelled',
    error_rate_limited: 'too many requests, wait a moment',
    error_unavailable: 'the server cannot store anything at the moment',
    error_board_full: 'the board is full, wait until something finishes',
    error_too_large: 'the message is too large',
    error_queue_full: 'too much is waiting to be sent',
    error_given_up: 'the server never answered',
    error_unknown: 'the server gave no reason',
    error_expired: 'nothing was heard of it for too long',
    error_no_wish: 'A task needs a description and a style.',
    error_unknown_mode: 'There is no such style. Choose one of those in the form.',
    error_empty_prompt: 'Say in a few words what to draw.',
    error_long_prompt: 'Keep the description to {most} characters; this one has {n}.',
    stage_colours: 'Mixing the colours',
    stage_sky: 'Filling the sky',
    stage_stars: 'Hanging out the stars',
    stage_clouds: 'Drawing out clouds',
    stage_moon: 'Lighting the moon',
    stage_sun: 'Lighting the sun',
    stage_range: 'Raising range {n} of {of}',
    stage_space: 'Darkening space',
    stage_nebula: 'Blowing gas clouds',
    stage_field: 'Scattering stars',
    stage_star: 'Lighting the star',
    stage_orbits: 'Bending the orbits',
    stage_belt: 'Sowing the asteroid belt',
    stage_inner: 'Setting off the inner planets',
    stage_middle: 'Setting off the middle planets',
    stage_giants: 'Setting off the giants',
    stage_cloth: 'Stretching the cloth',
    stage_ribbon: 'Weaving ribbon {n} of {of}',
    stage_ground: 'Preparing the ground',
    stage_bokeh: 'Letting light through',
    stage_leaves: 'Unfolding leaves',
    stage_blossoms: 'Planting small blossoms',
    stage_ring: 'Opening ring {n} of {of}',
    stage_seeds: 'Setting the seeds by the golden angle',
    stage_pollen: 'Shaking out pollen',
  },
  zh: {
    title: 'rtpush · 实时画板',
    tagline: '画板一有变化，所有设备同时看到。',
    skip: '跳到图片',
    toolbar: '连接与设置',
    new_picture: '新图片',
    prompt: '想画什么？',
    prompt_placeholder: '描述一个场景、一种心情、一抹颜色……',
    prompt_missing: '请先写几个字。',
    ideas: '灵感',
    idea_1: '七座山丘上的晨雾',
    idea_2: '永不相遇的两轮月亮',
    idea_3: '雨后的花园',
    mode: '风格',
    mode_landscape: '山水',
    mode_orbits: '轨道',
    mode_weave: '织纹',
    mode_bloom: '绽放',
    submit: '开始绘制',
    submit_hint: '或按 {key} + Enter',
    board: '画板',
    active_count: '{n} 个进行中',
    hidden_count: '另有 {n} 个未显示',
    board_empty: '画板还空着',
    board_empty_text: '提交一个想法，看它一笔一笔画出来——这里和其他正在看的设备都会同步。',
    terminal: '在终端里试试',
    terminal_text: '发布只需一个 HTTP 请求。运行下面的命令，所有打开的页面都会出现一张卡片。',
    terminal_prompt: '来自终端的问候',
    copy: '复制',
    copied: '已复制',
    draft: '等待发送……',
    waiting: '排队中……',
    untaken: '这里没有程序领取任务。请用 --demo 启动服务器，或接入自己的工作程序。',
    progress: '进度：{prompt}',
    elapsed: '已用时间',
    cancel: '取消',
    retry: '重试',
    show_all: '显示全部',
    show_less: '收起',
    download: '下载',
    enlarge: '放大：{prompt}',
    close: '关闭',
    dismiss: '知道了',
    status_active: '进行中',
    status_completed: '已完成',
    status_failed: '失败',
    status_cancelled: '已取消',
    status_cancelling: '正在取消',
    no_reason: '失败了，没有说明原因。',
    announce_completed: '已完成：{prompt}',
    announce_failed: '失败：{prompt}',
    announce_cancelled: '已取消：{prompt}',
    just_now: '刚刚',
    light_connecting: '连接中……',
    light_offline: '离线',
    light_failed: '已断开',
    transport_websocket: 'WebSocket',
    transport_sse: 'SSE',
    transport_poll: '长轮询',
    milliseconds: '{n} 毫秒',
    toast_connected: '已通过 {transport} 连接。',
    toast_lost: '连接已断开，正在重连……',
    toast_recovered: '连接已恢复，没有遗漏。',
    toast_refreshed: '连接已恢复，画板已更新。',
    toast_stopped: '服务器结束了连接。请刷新页面重试。',
    toast_stopped_reason: '服务器结束了连接：{reason}。请刷新页面重试。',
    toast_error: '操作没有成功：{reason}',
    theme_to_dark: '切换到深色',
    theme_to_light: '切换到浅色',
    lang_other: 'English',
    lang_switch: 'Switch to English',
    footer: '原生 WebSocket，小巧的 JSON 消息，任何代理都有退路。',
    docs: '文档',
    protocol: '协议',
    api: 'HTTP API',
    noscript: '需要启用 JavaScript 才能显示实时画板。',
    error_task_exists: '这个任务已经存在',
    error_task_finished: '这个任务已经结束',
    error_task_cancelling: '这个任务正在取消',
    error_rate_limited: '请求太频繁，请稍候',
    error_unavailable: '服务器暂时无法保存',
    error_board_full: '画板已满，请等待其他任务完成',
    error_too_large: '消息太大',
    error_queue_full: '等待发送的内容太多',
    error_given_up: '服务器一直没有答复',
    error_unknown: '服务器没有说明原因',
    error_expired: '太久没有任何消息',
    error_no_wish: '任务需要一段描述和一种风格。',
    error_unknown_mode: '没有这种风格，请从表单里选一种。',
    error_empty_prompt: '请用几个字说明要画什么。',
    error_long_prompt: '描述最多 {most} 个字符，现在有 {n} 个。',
    stage_colours: '调配颜色',
    stage_sky: '铺开天空',
    stage_stars: '挂上星星',
    stage_clouds: '舒展云彩',
    stage_moon: '点亮月亮',
    stage_sun: '点亮太阳',
    stage_range: '升起第 {n} 道山岭，共 {of} 道',
    stage_space: '压暗太空',
    stage_nebula: '吹起星云',
    stage_field: '撒播群星',
    stage_star: '点亮恒星',
    stage_orbits: '弯出轨道',
    stage_belt: '播下小行星带',
    stage_inner: '送出内侧行星',
    stage_middle: '送出中部行星',
    stage_giants: '送出巨行星',
    stage_cloth: '绷紧布面',
    stage_ribbon: '织第 {n} 条丝带，共 {of} 条',
    stage_ground: '准备底色',
    stage_bokeh: '透进光斑',
    stage_leaves: '展开叶子',
    stage_blossoms: '种下小花',
    stage_ring: '绽开第 {n} 圈花瓣，共 {of} 圈',
    stage_seeds: '按黄金角排列花籽',
    stage_pollen: '抖落花粉',
  },
};

const TAGS = { en: 'en', zh: 'zh-CN' };
let language = 'en';

/** @param {readonly string[]} preferred  e.g. navigator.languages */
export function pickLanguage(preferred) {
  const known = preferred.map((tag) => tag.toLowerCase().split('-')[0]).find((tag) => Object.hasOwn(TAGS, tag));
  return known ?? 'en';
}

/** @param {string} name  'en' or 'zh'; anything else is English */
export function setLanguage(name) {
  language = Object.hasOwn(TAGS, name) ? name : 'en';
}

/** @returns {string} a BCP 47 tag */
export function languageTag() {
  return TAGS[language];
}

/** @returns {string} the language that is not shown */
export function otherLanguage() {
  return language === 'en' ? 'zh' : 'en';
}

/** @param {string} key @returns {boolean} */
export function has(key) {
  return Object.hasOwn(MESSAGES[language], key);
}

/**
 * @param {string} key
 * @param {Record<string, string|number>} values
 * @returns {string}
 */
export function t(key, values = {}) {
  return MESSAGES[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** @param {Document} page  rewritten into the current language */
export function translate(page) {
  page.documentElement.lang = languageTag();
  page.title = t('title');
  for (const node of page.querySelectorAll('[data-i18n]')) node.textContent = t(node.dataset.i18n);
  for (const node of page.querySelectorAll('[data-i18n-label]')) node.setAttribute('aria-label', t(node.dataset.i18nLabel));
  for (const node of page.querySelectorAll('[data-i18n-placeholder]')) node.placeholder = t(node.dataset.i18nPlaceholder);
}
