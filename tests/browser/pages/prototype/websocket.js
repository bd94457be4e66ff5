class WebSocketManager {
    constructor() {
        this.socket = null;
        this.reconnectAttempts = 0;
        this.maxReconnectAttempts = 5;
        this.reconnectDelay = 1000;
        this.eventHandlers = new Map();
    }

    // 连接WebSocket
    connect() {
        console.log('[WebSocket] 正在连接...');
        
        this.socket = io(CONFIG.api.baseUrl, {
            transports: ['websocket', 'polling'],
            reconnection: true,
            reconnectionDelay: this.reconnectDelay,
            reconnectionAttempts: this.maxReconnectAttempts
        });

        this.setupEventListeners();
    }

    // 设置事件监听
    setupEventListeners() {
        // 连接成功
        this.socket.on('connect', () => {
            console.log('[WebSocket] 连接成功');
            this.reconnectAttempts = 0;
            ui.showToast('实时连接已建立', 'success');
        });

        // 连接断开
        this.socket.on('disconnect', (reason) => {
            console.log('[WebSocket] 连接断开:', reason);
            ui.showToast('实时连接已断开', 'warning');
        });

        // 重连中
        this.socket.on('reconnect_attempt', (attempt) => {
            console.log(`[WebSocket] 重连尝试 ${attempt}/${this.maxReconnectAttempts}`);
        });

        // 重连成功
        this.socket.on('reconnect', (attempt) => {
            console.log(`[WebSocket] 重连成功 (尝试 ${attempt} 次)`);
            ui.showToast('实时连接已恢复', 'success');
        });

        // 重连失败
        this.socket.on('reconnect_failed', () => {
            console.error('[WebSocket] 重连失败');
            ui.showToast('实时连接失败,请刷新页面', 'error');
        });

        // 接收活跃任务
        this.socket.on('active_tasks', (data) => {
            console.log('[WebSocket] 收到活跃任务:', data.tasks);
            this.trigger('active_tasks', data.tasks);
        });

        // 任务创建
        this.socket.on('task_created', (data) => {
            console.log('[WebSocket] 任务创建:', data);
            this.trigger('task_created', data);
        });

        // 任务进度
        this.socket.on('task_progress', (data) => {
            console.log('[WebSocket] 任务进度:', data);
            this.trigger('task_progress', data);
        });

        // 任务完成
        this.socket.on('task_completed', (data) => {
            console.log('[WebSocket] 任务完成:', data);
            this.trigger('task_completed', data);
        });

        // 任务失败
        this.socket.on('task_failed', (data) => {
            console.log('[WebSocket] 任务失败:', data);
            this.trigger('task_failed', data);
        });
    }

    // 发送事件
    emit(event, data) {
        if (this.socket && this.socket.connected) {
            this.socket.emit(event, data);
        } else {
            console.error('[WebSocket] 未连接,无法发送事件:', event);
        }
    }

    // 注册事件处理器
    on(event, handler) {
        if (!this.eventHandlers.has(event)) {
            this.eventHandlers.set(event, []);
        }
        this.eventHandlers.get(event).push(handler);
    }

    // 触发事件处理器
    trigger(event, data) {
        const handlers = this.eventHandlers.get(event);
        if (handlers) {
            handlers.forEach(handler => handler(data));
        }
    }

    // 断开连接
    disconnect() {
        if (this.socket) {
            this.socket.disconnect();
        }
    }
}

// 创建全局实例
const ws = new WebSocketManager();
