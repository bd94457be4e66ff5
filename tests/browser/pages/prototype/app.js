class App {
    init() {
        this.setupFormSubmit();
        this.loadInitialData();
        this.restoreTasks();
        this.setupWebSocket(); // 使用WebSocket代替轮询
        ui.updateCharCount();
    }

    // 设置WebSocket
    setupWebSocket() {
        // 连接WebSocket
        ws.connect();

        // 监听任务创建
        ws.on('task_created', (task) => {
            const taskId = parseInt(task.id);
            
            // 如果本地没有这个任务,创建它
            if (!this.activeTasks.has(taskId)) {
                const taskInfo = {
                    id: taskId,
                    formData: task.formData,
                    mode: task.mode,
                    startTime: task.startTime,
                    serverTaskId: task.serverTaskId,
                    cancelled: false
                };
                
                this.activeTasks.set(taskId, taskInfo);
                ui.createTaskCard(taskId, task.formData.prompt);
                
                // 如果有serverTaskId,继续执行
                if (task.serverTaskId) {
                    this.executeGeneration(taskId, taskInfo);
                }
            }
        });

        // 监听任务进度
        ws.on('task_progress', (data) => {
            const taskId = parseInt(data.id);
            ui.updateTaskProgress(taskId, data.progress, data.message);
        });

        // 监听任务完成
        ws.on('task_completed', (data) => {
            const taskId = parseInt(data.id);
            if (this.activeTasks.has(taskId)) {
                ui.showTaskResult(taskId, data.result);
                this.activeTasks.delete(taskId);
            }
        });

        // 监听任务失败
        ws.on('task_failed', (data) => {
            const taskId = parseInt(data.id);
            if (this.activeTasks.has(taskId)) {
                ui.showTaskError(taskId, data.error);
                this.activeTasks.delete(taskId);
            }
        });

        // 监听活跃任务
        ws.on('active_tasks', (tasks) => {
            tasks.forEach(task => {
                const taskId = parseInt(task.id);
                if (!this.activeTasks.has(taskId)) {
                    const taskInfo = {
                        id: taskId,
                        formData: task.formData,
                        mode: task.mode,
                        startTime: task.startTime,
                        serverTaskId: task.serverTaskId,
                        cancelled: false
                    };
                    
                    this.activeTasks.set(taskId, taskInfo);
                    ui.createTaskCard(taskId, task.formData.prompt);
                    
                    if (task.serverTaskId) {
                        this.executeGeneration(taskId, taskInfo);
                    }
                }
            });
        });
    }

    // 提交任务时发送WebSocket事件
    async submitTask(formData, mode) {
        const taskId = ++this.taskIdCounter;
        const taskInfo = {
            id: taskId,
            formData: formData,
            mode: mode,
            startTime: Date.now(),
            serverTaskId: '',
            cancelled: false
        };

        this.activeTasks.set(taskId, taskInfo);
        ui.createTaskCard(taskId, formData.prompt);

        // 发送WebSocket事件
        ws.emit('task_created', {
            id: taskId,
            formData: formData,
            mode: mode,
            startTime: taskInfo.startTime
        });

        // 执行生成
        this.executeGeneration(taskId, taskInfo);
    }
}
