from django.urls import path

from longboard.webhooks import views

urlpatterns = [
    path("", views.webhooks, name="webhooks"),
    path("<int:webhook_id>/delete/", views.delete, name="delete-webhook"),
]
